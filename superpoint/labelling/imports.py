"""Stage labels import: keypoints that a person or another program made in, a feature file out."""

import importlib.metadata
import json
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from superpoint.data.feature_file import OUTSIDE
from superpoint.data.feature_writer import check_name, save_features
from superpoint.data.images import read_gray, read_orientation
from superpoint.data.label_files import READ, Labels, check_inside, read_labels
from superpoint.data.sources.photographs import AlignedFiles, check_shape
from superpoint.data.sources.source import EXTENSIONS, open_source
from superpoint.engine.display import watch
from superpoint.errors import UserError
from superpoint.features import Features, Frame
from superpoint.files import natural_order, refuse_inputs

SHOWN = 5  # skipped images that are named


def import_labels(
    source: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    offset: float = 0.0,
    swapped: bool = False,
    frame: Frame = "stored",
) -> None:
    """Write the labels of a file, or of the files below a folder (`data.label_files.read_labels`), as a feature file.

    Args:
        images: folder of the images: names and sizes are checked, labels without their image are skipped, and a name
            without its extension is completed.
        offset: coordinate that the labels give to the centre of the first pixel; it is subtracted.
        swapped: the labels are (y, x).
        frame: of the labels: pixels as they lie in the file, or turned by EXIF.

    Raises: UserError for a file that cannot be read, two of one image, points outside it, no label at all, or an `out`
        that cannot be written.
    """
    source, out = Path(source), Path(out)
    files = None if images is None else AlignedFiles(Path(images))
    total = 0 if images is None else len(open_source([str(images)]))
    found: dict[str, Features] = {}
    places: dict[str, str] = {}
    skipped: dict[str, str] = {}
    inputs = _inputs(source)
    refuse_inputs(out, inputs)
    for file in watch(inputs, "files"):
        own = (Path(file.name) if file == source else file.relative_to(source)).with_suffix("").as_posix()
        for labels in read_labels(file):
            named = labels.image or own
            where = f"{file}: {named}" if labels.image else str(file)
            name = named if files is None else files.find(named)
            if name is None:
                skipped[named] = f"no such image in {images}, or several"
                continue
            if PurePosixPath(name).suffix.lower() not in EXTENSIONS:
                raise UserError(f"{where}: found no image in the name, expected e.g. {name}.jpg; or give --images")
            if name in places:
                raise UserError(f"{where}: labels {name}, which {places[name]} labels already")
            try:
                check_name(name)
                size, orientation = (labels.size, 1) if files is None else _measure(files.root / name, labels, frame)
            except (UserError, ValueError) as error:
                skipped[name] = str(error).removeprefix(f"{files.root / name}: " if files is not None else "")
                continue
            places[name] = where
            points = (labels.points[:, ::-1] if swapped else labels.points) - offset
            _check_points(points, size, where)
            order = np.argsort(-labels.scores, kind="stable")
            points, scores = points[order], labels.scores[order]
            found[name] = Features(points, scores, None, size or (0, 0), orientation=orientation, frame=frame)
    if not found:
        reason = next((f"; {name}: {each}" for name, each in skipped.items()), "; its files hold no keypoints")
        raise UserError(f"{source}: found no labels that can be used{reason}")
    writer = f"superpoint {importlib.metadata.version('superpoint')}, labels import"
    save_features(out, found, {"writer": writer, "frame": frame, "skipped": json.dumps(skipped)})
    counts = [len(each) for each in found.values()]
    lines = [f"{out}: {len(found)} images, {sum(counts)} keypoints, {counts.count(0)} of these images without any"]
    lines += [f"{total - len(found)} other images have no labels"] if total > len(found) else []
    lines += [f"skipped {name}: {reason}" for name, reason in list(skipped.items())[:SHOWN]]
    lines += [f"and {len(skipped) - SHOWN} more"] if len(skipped) > SHOWN else []
    Console().print(Text("\n".join(lines)), soft_wrap=True)


def _inputs(source: Path) -> list[Path]:
    """Return the files of labels below a folder, or the one that was given."""
    files = [source] if source.is_file() else [path for path in source.rglob("*") if not path.name.startswith(".")]
    found = [path for path in files if path.suffix.lower() in READ]
    if not found:
        raise UserError(f"{source}: found no labels, expected files that end in {' '.join(READ)}")
    return sorted(found, key=lambda path: natural_order(path.as_posix()))


def _measure(path: Path, labels: Labels, frame: Frame) -> tuple[tuple[int, int], int]:
    """Return the (width, height) that labels are for, and the EXIF orientation of their image.

    Raises: UserError if the image cannot be read, or is of another shape than the labels say.
    """
    height, width = read_gray(path, upright=frame == "upright").shape
    size = labels.size or (width, height)
    check_shape(path, size, (width, height))
    return size, read_orientation(path)


def _check_points(points: NDArray[np.float64], size: tuple[int, int] | None, where: str) -> None:
    """Raise UserError if some points lie clearly outside the image."""
    if size is not None:
        check_inside(where, points, (size[1], size[0]), OUTSIDE * max(size))
    elif len(points) and points.min() < -0.5:
        x, y = points[points.min(axis=1).argmin()]
        raise UserError(f"{where}: found the point (x={x:g}, y={y:g}), expected none below -0.5: see --offset")
