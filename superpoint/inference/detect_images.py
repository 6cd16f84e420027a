"""Stage detect: the keypoints of images, drawn on them or written to a feature file."""

import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superpoint.config import AdaptationConfig, LabellingConfig
from superpoint.config.inference import InferenceConfig
from superpoint.data.feature_writer import check_name
from superpoint.data.masks import Masks
from superpoint.data.sources.source import Files, open_source
from superpoint.engine.display import Display
from superpoint.errors import UserError
from superpoint.evaluation.tables import make_table
from superpoint.files import refuse_inputs
from superpoint.inference.pictures import keypoints_picture
from superpoint.inference.see import Seen, decode_config, load_detector, see
from superpoint.labelling.export import export_detections
from superpoint.visualize import save_image

ROWS = 25  # of the table; of more images only the sum is told
PART = 64  # images of a part of a source; of no consequence here


def detect_images(
    inputs: Sequence[str],
    out: str | Path,
    config: InferenceConfig,
    *,
    masks: str | Path | None = None,
    root: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    frame: str = "stored",
) -> int | None:
    """Draw the keypoints of all images of `inputs` (see `data.sources.open_source`) into PNGs in the folder `out`.

    In `masks`, a folder, are the masks of the images (see `data.masks.Masks`); images without one are used whole.
    With an `out` that ends in .h5, write a feature file; only this uses `overwrite` and `frame` (see
    `geometry.orientation`; pictures are upright). Unreadable images are skipped and named; with `resume` those whose
    picture is there are passed over, whatever settings it was made with. Return the signal that stopped a feature file,
    else None.

    Raises: UserError if no image can be read, nothing can be written, or a picture would replace an image.
    """
    suffix = Path(out).suffix.lower()
    if suffix in (".h5", ".hdf5"):
        settings = labelling_config(config, frame=frame, masks=None if masks is None else str(masks))
        return _write_features(inputs, out, settings, root=root, resume=resume, overwrite=overwrite)
    if frame != "stored":
        raise UserError("--frame: is for a feature file (--out features.h5); pictures are upright")
    if Path(out).is_file() or suffix in (".png", ".jpg", ".jpeg"):
        raise UserError(f"--out: found '{out}', expected a folder for the pictures, or a feature file (.h5)")
    console = Console()
    model = load_detector(config)
    with (
        closing(open_source(inputs, root, channels=model.channels)) as source,
        Display(len(source), unit="images") as display,
    ):
        store = None if masks is None else Masks(masks)
        if store is not None:
            store.check(getattr(source, "names", ()), root=getattr(source, "root", None))
        folder = Path(out)
        files = {(source.root / name).resolve() for name in source.names} if isinstance(source, Files) else set[Path]()
        found: list[tuple[str, Seen, float]] = []
        skipped, oriented, replaced, written = 0, 0, 0, set[Path]()
        items = (item for part in range(source.parts(PART)) for item in source.read(part, PART))
        for number, item in enumerate(items, 1):
            picture = folder / PurePosixPath(item.name).with_suffix(".png")
            if picture in written:  # a/photo.jpg.png beside a/photo.png
                picture = folder / f"{item.name}.png"
            if resume and picture.is_file() and picture.resolve() not in files:
                written.add(picture)
                continue
            try:
                check_name(item.name)  # a member of a tar may be called ../../file
                image = item.load()
                mask = None if store is None else store.read(item.name, image.shape, item.orientation())
                start = perf_counter()
                with warnings.catch_warnings(record=True) as words:  # of a mask that keeps nothing
                    warnings.simplefilter("always")
                    seen = see(model, image, config, item.name, mask)
            except (UserError, ValueError, MemoryError) as error:
                reason = str(error).removeprefix(f"{item.name}: ") or "does not fit into the memory"
                console.print(Text(f"skipped {item.name}: {reason}", style="bold yellow"), soft_wrap=True)
                skipped += 1
                continue
            now = perf_counter()
            for word in words:
                console.print(Text(f"{item.name}: {word.message}"), soft_wrap=True)
            oriented += item.orientation() > 1
            found.append((item.name, seen, now - start))
            display.update(number, {"keypoints": len(seen.features)})
            if picture.resolve() in files:
                refuse_inputs(picture, [picture])
            written.add(picture)
            replaced += picture.exists()
            save_image(picture, keypoints_picture(seen.image, seen.features, item.name))
    if not found and not written:
        raise UserError(f"{', '.join(inputs)}: none of the images could be used ({skipped} skipped)")
    if 0 < len(found) <= ROWS:
        console.print(_table(f"Keypoints by {model.name} ({model.network})", found))
    names = getattr(source, "names", [name for name, *_ in found])
    notes = [f"{len(written) - len(found)} drawn before"] if len(written) > len(found) else []
    notes += [f"{replaced} pictures replaced"] if replaced else []
    notes += filter(None, ["" if store is None else store.check(names, refuse=False)])
    keypoints, seconds = sum(len(seen.features) for _, seen, _ in found), sum(time for *_, time in found)
    if isinstance(source, Files) and source.passed_over():
        console.print(source.passed_over(), soft_wrap=True)
    if oriented:
        console.print(f"{oriented} images carry an EXIF orientation; they are drawn upright")
    console.print(
        f"{keypoints} keypoints on {len(found)} images, {skipped} skipped, {len(found) / max(seconds, 1e-9):.1f} "
        f"{', '.join(['images/s', *notes])}\npictures: {folder}",
        soft_wrap=True,
    )
    return None


def labelling_config(config: InferenceConfig, **others: Any) -> LabellingConfig:
    """Return the settings of a feature file with what `detect` finds."""
    adaptation = AdaptationConfig(homographies=0, memory=256)  # `memory` as export-detections has it
    shared = {key: getattr(config, key) for key in ("resize", "tile", "backend", "precision", "device")}
    return LabellingConfig(
        adaptation=adaptation, weights=config.model, decode=decode_config(config), **shared, **others
    )


def _write_features(inputs: Sequence[str], out: str | Path, settings: LabellingConfig, **options: Any) -> int | None:
    result = export_detections(settings, inputs, out, **options)
    if result.summary is not None and not result.summary.images:
        raise UserError(
            f"{', '.join(inputs)}: none of the images could be used ({result.summary.skipped} skipped); {out} has the "
            "reasons, give --overwrite at another try"
        )
    return result.signal


def _table(title: str, found: Sequence[tuple[str, Seen, float]]) -> Table:
    table = make_table(title, ["image"], ["size", "keypoints", "median score", "ms"])
    for name, (_, features, size), seconds in found:
        score = f"{np.median(features.scores):.3f}" if len(features) else "-"
        table.add_row(Text(name), f"{size[0]}x{size[1]}", str(len(features)), score, f"{seconds * 1e3:.0f}")
    return table
