"""Stage detect: the keypoints of images, drawn on them or written to a feature file.

superpoint detect photos --out pictures
superpoint detect photos --out features.h5
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superpoint.config import AdaptationConfig, DecodeConfig, LabellingConfig
from superpoint.config.inference import InferenceConfig
from superpoint.data.feature_writer import check_name
from superpoint.data.images import resize_with_points
from superpoint.data.sources.source import Files, open_source
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.files import make_folder, refuse_inputs
from superpoint.inference.detector import FeatureDetector, load_model
from superpoint.inference.images import shrunk_size
from superpoint.inference.pictures import points_picture
from superpoint.labelling.export import export_detections
from superpoint.labelling.memory import largest_chunk
from superpoint.visualize import save_image

NO_KEYPOINTS = np.zeros((0, 2), np.float32)
ROWS = 25  # of the table; of more images only the sum is told
PART = 64  # images of a part of a source; of no consequence here


def detect_images(
    inputs: Sequence[str],
    out: str | Path,
    config: InferenceConfig,
    *,
    root: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> int | None:
    """Write the pictures of all images of `inputs` (see `data.sources.open_source`) into the folder `out`, as PNGs.

    If `out` ends in .h5 it is a feature file, written by the stage export-detections without adaptation; `resume` and
    `overwrite` are for that. Images that cannot be read are skipped, named and counted.

    Returns: the signal that stopped the writing of a feature file, else None.
    Raises: UserError if there are no images, none of them can be read, nothing can be written, or a picture would
        replace one of the images.
    """
    suffix = Path(out).suffix.lower()
    if suffix in (".h5", ".hdf5"):
        return _write_features(inputs, out, config, root=root, resume=resume, overwrite=overwrite)
    if resume:
        raise UserError("--resume: only a feature file (--out features.h5) can be resumed")
    if Path(out).is_file() or suffix in (".png", ".jpg", ".jpeg"):
        raise UserError(f"--out: found '{out}', expected a folder for the pictures, or a feature file (.h5)")
    console = Console()
    with closing(open_source(inputs, root)) as source:
        model = load_detector(config)
        folder = make_folder(out)
        names = set(source.names) if isinstance(source, Files) else set[str]()
        rows: list[tuple[str, Features, float]] = []
        skipped, written = 0, set[str]()
        for item in (item for part in range(source.parts(PART)) for item in source.read(part, PART)):
            try:
                check_name(item.name)  # a member of a tar may be called ../../file
                image = item.load()
                start = perf_counter()
                features = detect(model, image, config, item.name)
            except (UserError, ValueError, MemoryError) as error:
                reason = str(error).removeprefix(f"{item.name}: ") or "does not fit into the memory"
                console.print(Text(f"skipped {item.name}: {reason}", style="bold yellow"), soft_wrap=True)
                skipped += 1
                continue
            rows.append((item.name, features, perf_counter() - start))
            title = f"{item.name}: {len(features)} points, probability > {config.threshold:g}"
            small, points = shrunk(image, features.keypoints, config.resize)
            picture = folder / _picture_name(item.name, written)
            if isinstance(source, Files) and (name := _name_below(source.root, picture)) in names:
                refuse_inputs(picture, [source.root / name])
            save_image(picture, points_picture(small, points, features.scores, title))
    if not rows:
        raise UserError(f"{', '.join(inputs)}: none of the images could be used ({skipped} skipped)")
    _report(console, model, rows, skipped, folder)
    return None


def _name_below(root: Path, path: Path) -> str:
    """What the file is called relative to the root, wherever that lies."""
    return Path(os.path.relpath(os.path.realpath(path), os.path.realpath(root))).as_posix()


def load_detector(config: InferenceConfig) -> FeatureDetector:
    """The model of a configuration."""
    return load_model(config.model, config.device, config.backend, config.precision)


def decode_config(config: InferenceConfig) -> DecodeConfig:
    """Return how a network's output becomes keypoints."""
    return DecodeConfig(config.nms_radius, config.threshold, config.border, config.max_keypoints)


def detect(model: FeatureDetector, image: NDArray[np.uint8], config: InferenceConfig, name: str) -> Features:
    """Features of an image [H, W] or [H, W, 3]. Raises: NoRoomError if it does not fit into the memory."""
    height, width = image.shape[:2]
    largest_chunk(0, shrunk_size(height, width, config.resize), model.device, name)  # does it fit?
    return model.detect(
        image,
        threshold=config.threshold,
        max_keypoints=config.max_keypoints,
        nms_radius=config.nms_radius,
        border=config.border,
        resize=config.resize,
    )


def shrunk(
    image: NDArray[np.uint8], points: NDArray[np.float32], longest: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """An image and its points at the size at which the network saw it."""
    return resize_with_points(image, points, shrunk_size(image.shape[0], image.shape[1], longest))


def _write_features(inputs: Sequence[str], out: str | Path, config: InferenceConfig, **options: Any) -> int | None:
    settings = LabellingConfig(
        weights=config.model,
        resize=config.resize,
        backend=config.backend,
        precision=config.precision,
        device=config.device,
        adaptation=AdaptationConfig(homographies=0, memory=256),  # none; `memory` as export-detections has it
        decode=decode_config(config),
    )
    result = export_detections(settings, inputs, out, **options)
    if result.summary is not None and not result.summary.images:
        raise UserError(
            f"{', '.join(inputs)}: none of the images could be used ({result.summary.skipped} skipped); {out} has the "
            "reasons, remove it before another try"
        )
    return result.signal


def _picture_name(name: str, written: set[str]) -> str:
    """a/photo.jpg -> a/photo.png, or a/photo.jpg.png if there is one of that name already."""
    path = PurePosixPath(name).with_suffix(".png").as_posix()
    if path in written:
        path = f"{name}.png"
    written.add(path)
    return path


def _report(
    console: Console, model: FeatureDetector, rows: Sequence[tuple[str, Features, float]], skipped: int, folder: Path
) -> None:
    if len(rows) <= ROWS:
        table = Table(title=f"Keypoints by {model.name} ({model.network})")
        for column in ("image", "size", "points", "median score", "ms"):
            table.add_column(column, justify="left" if column == "image" else "right")
        for name, features, seconds in rows:
            score = f"{np.median(features.scores):.3f}" if len(features) else "-"
            size = "x".join(map(str, features.image_size))
            table.add_row(Text(name), size, str(len(features)), score, f"{seconds * 1e3:.0f}")
        console.print(table)
    points = sum(len(features) for _, features, _ in rows)
    seconds = sum(seconds for *_, seconds in rows)
    console.print(
        f"{points} points on {len(rows)} images, {skipped} skipped, {len(rows) / max(seconds, 1e-9):.1f} images/s\n"
        f"pictures: {folder}",
        soft_wrap=True,
    )
