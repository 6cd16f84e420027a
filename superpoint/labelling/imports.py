"""Stage labels import: keypoints that a person or another program made in, a feature file out.

superpoint labels import annotations --out labels.h5 --images photos
superpoint labels import keypoints.json --out labels.h5 --offset 0.5
"""

import importlib.metadata
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from rich.console import Console
from rich.text import Text

from superpoint.data.feature_file import OUTSIDE
from superpoint.data.feature_writer import check_name, save_features
from superpoint.data.label_files import READ, Labels, check_inside, read_labels
from superpoint.data.sources.photographs import same_shape
from superpoint.data.sources.source import EXTENSIONS, Files, open_source
from superpoint.engine.display import watch
from superpoint.errors import UserError
from superpoint.features import Features, Frame
from superpoint.files import natural_order, refuse_inputs
from superpoint.geometry.orientation import turned_back, turned_size

SHOWN = 5  # skipped images that are named


def import_labels(
    source: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    offset: float = 0.0,
    swapped: bool = False,
    frame: Frame = "stored",
    overwrite: bool = False,
) -> Path:
    """Write the labels of a file or of the files below a folder (`data.label_files.read_labels`) as a feature file.

    Args:
        images: folder of the images: names and sizes are checked, labels without their image are skipped, and a name
            without its extension is completed.
        offset: coordinate that the labels give to the centre of the first pixel; it is subtracted.
        swapped: the labels are (y, x).
        frame: that of the labels: pixels as they lie in the file, or turned by EXIF.

    Raises: UserError for a file that cannot be read, two of one image, points outside it, no label at all, or an `out`
        that exists or cannot be written.
    """
    source, out = Path(source), Path(out)
    if out.suffix.lower() not in (".h5", ".hdf5"):
        raise UserError(f"--out: found '{out}', expected a file name that ends in .h5")
    if out.exists() and not overwrite:
        raise UserError(f"{out}: exists already; take another --out, or --overwrite")
    photographs = None if images is None else _Photographs(images, frame)
    found: dict[str, Features] = {}
    places: dict[str, str] = {}
    skipped: dict[str, str] = {}
    inputs = _files(source)
    refuse_inputs(out, inputs)
    for file in watch(inputs, "files"):
        for name, labels in _named(file, source):
            where = str(file) if labels.image is None else f"{file}: {labels.image}"
            size, orientation = labels.size, 1
            if photographs is not None:
                try:
                    name = photographs.find(name, where)
                    size, orientation = photographs.measure(name, labels.size)
                except LookupError as error:
                    skipped[name] = str(error)
                    continue
            elif PurePosixPath(name).suffix.lower() not in EXTENSIONS:
                raise UserError(f"{where}: found no image in the name, expected e.g. {name}.jpg; or give --images")
            if name in places:
                raise UserError(f"{where}: labels {name}, which {places[name]} labels already")
            places[name] = where
            points = labels.points[:, ::-1] if swapped else labels.points
            found[name] = _features(points - offset, labels.scores, size, orientation, frame, where)
            _check(name, where)
    if not found:
        reason = next((f"; {name}: {each}" for name, each in skipped.items()), "")
        raise UserError(f"{source}: found no labels that can be used{reason}")
    attributes = {
        "writer": f"superpoint {importlib.metadata.version('superpoint')}, labels import",
        "frame": frame,
        "skipped": json.dumps(skipped),
    }
    save_features(out, found, attributes)
    _report(out, found, skipped, photographs)
    return out


class _Photographs:
    """The images below a folder, by their names with and without extension."""

    def __init__(self, folder: str | Path, frame: Frame) -> None:
        opened = open_source([str(folder)])
        if not isinstance(opened, Files):
            raise UserError(f"--images: found {folder}, expected a folder of images")
        self.files, self.upright = opened, frame == "upright"
        self.names = set(opened.names)
        self.by_stem: dict[str, list[str]] = {}
        for name in opened.names:
            self.by_stem.setdefault(str(PurePosixPath(name).with_suffix("")), []).append(name)

    def find(self, name: str, where: str) -> str:
        """Return the name of an image. Raises: LookupError if there is none, UserError if there are several."""
        if name in self.names:
            return name
        suffixed = PurePosixPath(name).suffix.lower() in EXTENSIONS
        alike = self.by_stem.get(str(PurePosixPath(name).with_suffix("")) if suffixed else name, [])
        if len(alike) > 1:
            raise UserError(f"{where}: found {' and '.join(alike)}, expected one image of that name")
        if not alike:
            raise LookupError(f"no such image in {self.files.root}")
        return alike[0]

    def measure(self, name: str, labelled: tuple[int, int] | None) -> tuple[tuple[int, int], int]:
        """Return the (width, height) that the labels are for, and the EXIF orientation.

        Raises: LookupError if the image cannot be read, or is of another shape than `labelled`.
        """
        try:
            height, width = self.files.load(name).shape
        except UserError as error:
            raise LookupError(str(error).removeprefix(f"{name}: ")) from error
        orientation = self.files.orientation(name)
        size = (width, height) if self.upright else turned_size((width, height), turned_back(orientation))
        if labelled is not None and not same_shape(labelled, size):
            raise LookupError(
                f"found {size[0]} x {size[1]} pixels, its labels were made for {labelled[0]} x {labelled[1]}"
            )
        return labelled or size, orientation


def _files(source: Path) -> list[Path]:
    if source.is_file():
        if source.suffix.lower() not in READ:
            raise UserError(f"{source}: found the extension '{source.suffix}', expected one of {' '.join(READ)}")
        return [source]
    found = [path for path in source.rglob("*") if path.suffix.lower() in READ and not path.name.startswith(".")]
    if not found:
        raise UserError(f"{source}: found no labels in this folder, expected files that end in {' '.join(READ)}")
    return sorted(found, key=lambda path: natural_order(path.as_posix()))


def _named(file: Path, source: Path) -> Iterator[tuple[str, Labels]]:
    """Yield the labels of a file with the names of their images: what the file says, or its own without the ending."""
    own = Path(file.name) if file == source else file.relative_to(source)
    for labels in read_labels(file):
        text = own.with_suffix("").as_posix() if labels.image is None else labels.image.replace(os.sep, "/")
        yield str(PurePosixPath(text)), labels


def _check(name: str, where: str) -> None:
    try:
        check_name(name)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _features(
    points: np.ndarray, scores: np.ndarray, size: tuple[int, int] | None, orientation: int, frame: Frame, where: str
) -> Features:
    """Return labels strongest first. Raises: UserError if some lie clearly outside the image."""
    if size is not None:
        check_inside(where, points, (size[1], size[0]), OUTSIDE * max(size))
    elif len(points) and points.min() < -0.5:
        x, y = points[points.min(axis=1).argmin()]
        raise UserError(f"{where}: found the point (x={x:g}, y={y:g}), expected none below -0.5: see --offset")
    order = np.argsort(-scores, kind="stable")
    return Features(points[order], scores[order], None, size or (0, 0), orientation=orientation, frame=frame)


def _report(out: Path, found: dict[str, Features], skipped: dict[str, str], photographs: _Photographs | None) -> None:
    console = Console()
    counts = [len(each) for each in found.values()]
    empty = f", {counts.count(0)} images without any" if 0 in counts else ""
    console.print(Text(f"{out}: {len(found)} images, {sum(counts)} keypoints{empty}"), soft_wrap=True)
    if photographs is not None and len(photographs.names) > len(found):
        console.print(f"{len(photographs.names) - len(found)} images have no labels")
    for name, reason in list(skipped.items())[:SHOWN]:
        console.print(Text(f"skipped {name}: {reason}"), soft_wrap=True)
    if len(skipped) > SHOWN:
        console.print(f"and {len(skipped) - SHOWN} more")
