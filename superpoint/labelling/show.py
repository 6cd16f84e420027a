"""What a feature file holds: its figures, a contact sheet, its integrity."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superpoint.data.feature_file import FeatureFile, check_features
from superpoint.data.images import resize_with_points
from superpoint.data.masks import resize_mask
from superpoint.data.sources.photographs import LabelledPhotographs
from superpoint.engine.display import watch
from superpoint.errors import UserError
from superpoint.geometry.homography import shrunk_size
from superpoint.geometry.orientation import Frame
from superpoint.labelling.summary import Summary, summarise
from superpoint.visualize import contact_sheet, draw_strongest, save_image, to_rgb

SHOWN = 5  # reasons and problems listed before "and more"
FRAMES = {
    "stored": "stored pixels, in which the network saw them (frame turned-back shows them upright)",
    "upright": "upright images",
    "turned-back": "stored pixels, the network saw them upright",
}
CELL_SIDE = 480  # pixels; longest side of a picture on the contact sheet


def print_summary(path: Path, summary: Summary, skipped: Mapping[str, str], note: str = "", *, frame: str) -> None:
    """Print the figures of `summary` as a table, the reasons for skipped images, the alarms."""
    console = Console()
    placement = summary.placement
    table = Table(title=str(path), show_header=False, title_justify="left")
    rows = {
        "images": f"{summary.images} done, {summary.skipped} skipped" + (f", {note}" if note else ""),
        "keypoints": f"{summary.keypoints}; per image {summary.min} / {summary.median:g} / {summary.max} "
        f"(min / median / max), {summary.empty} images without",
        "density": f"{summary.density:.1f} keypoints in 100 x 100 pixels (median image)",
        "coverage": f"{summary.coverage:.1%} of the 16 x 16 blocks hold a keypoint",
        "border": f"density within 8 px of the outline {placement.border:.2f} of the mean",
        "8x8 cell": f"fullest row or column {placement.fullest:.1%} of the keypoints (even: 12.5 %)",
        "phase": f"chi-square of the 64 places in a cell {placement.phase:.1f} (even: 1)",
    }
    if summary.views == summary.views:
        rows["views"] = f"{summary.views:.1f} per image"
    for key, value in rows.items():
        table.add_row(key, Text(value))
    console.print(table)
    if summary.oriented:
        carried = f"{summary.oriented} images carry an EXIF orientation; keypoints are in the frame of the"
        console.print(f"{carried} {FRAMES[frame]}", soft_wrap=True)
    if skipped:
        for kind, count in Counter(skipped.values()).most_common(SHOWN):
            console.print(Text(f"skipped {count}: {kind}"), soft_wrap=True)
    for alarm in summary.alarms:
        console.print(Text(f"ALARM: {alarm}", style="bold red"), soft_wrap=True)


def summarise_labels(labels: FeatureFile, resize: int, seen: Frame) -> Summary:
    """Summarise a feature file of images that the network saw at `resize` in the frame `seen`."""
    names = watch(labels.names(), "images summarised")
    features = (labels.read(name, descriptors=False).in_frame(seen) for name in names)
    return summarise(features, resize, len(labels.skipped()))


def labels_info(path: str | Path) -> Summary:
    """Print what a feature file holds, ours or hloc's."""
    with FeatureFile(path) as labels:
        attributes, skipped = labels.attributes, labels.skipped()
        config = yaml.safe_load(str(attributes.get("config", "{}")))
        resize = config.get("resize", 0)
        names = labels.names()
        frame = config.get("frame", labels.frame)
        summary = summarise_labels(labels, resize, "upright" if frame == "turned-back" else labels.frame)
        first = labels.read(names[0]) if names else None
    print_summary(Path(path), summary, skipped, frame=frame)
    console = Console()
    if first is not None:
        described = "none" if first.descriptors is None else f"{first.descriptors.shape[1]} x float16"
        console.print(Text(f"names: {names[0]} .. {names[-1]}; descriptors: {described}"), soft_wrap=True)
    if config:
        adapted = config["adaptation"]["homographies"]
        how = f"{adapted} homographies" if adapted > 1 else "plain detection"
        size = f"longest side {resize} px" if resize else "original size"
        made = f"{attributes['writer']}, weights {config['weights']} ({attributes['model']}), {how}, {size}"
        console.print(Text(f"made by {made}, threshold {config['decode']['threshold']:g}"), soft_wrap=True)
    return summary


def labels_show(
    path: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    masks: str | Path | None = None,
    count: int = 16,
    columns: int = 4,
) -> Path:
    """Draw `count` images, evenly chosen, with their keypoints; `images` is their root or an HDF5 file.

    What their masks in the folder `masks` ignore is red.
    """
    drawn, missing = [], []
    with FeatureFile(path) as labels:
        names = labels.names()
        chosen = np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)).tolist()
        shown, channels = [names[index] for index in chosen], int(labels.attributes.get("channels", 1))
        photographs = LabelledPhotographs(labels, images, shown, masks=masks, channels=channels)
        for index, name in enumerate(watch(photographs.names, "images")):
            try:
                gray, features = photographs.read(index)
                mask = photographs.mask(index, gray)
            except UserError as error:
                missing.append(error)
                continue
            size = shrunk_size(gray.shape[0], gray.shape[1], CELL_SIDE)
            small, points = resize_with_points(gray, features.keypoints, size)
            picture = to_rgb(small)
            if mask is not None:
                picture[~resize_mask(mask, size), 0] = 255
            drawn.append(draw_strongest(picture, points, features.scores, name))
    if not drawn:
        raise UserError(f"{images}: no image that {path} labels can be read ({missing[0]})")
    save_image(out, contact_sheet(*zip(*drawn, strict=True), columns=columns, scores=True))
    note = f", {len(missing)} of {len(chosen)} images missing" if missing else ""
    Console().print(f"contact sheet: {out}{note}", soft_wrap=True)
    return Path(out)


def labels_check(path: str | Path) -> int:
    """Print what is wrong in a feature file; returns the number of problems."""
    console = Console()
    with FeatureFile(path) as labels:
        count = 0
        for problem in check_features(labels, watch(labels.names(), "images")):
            count += 1
            if count <= SHOWN:
                where = f"{problem.name}: " if problem.name else ""
                console.print(Text(f"{path}: {where}{problem.text}"), soft_wrap=True)
        images = len(labels)
    if count > SHOWN:
        console.print(f"and {count - SHOWN} more")
    verdict = f"{count} problem{'s' if count > 1 else ''}" if count else "whole"
    console.print(Text(f"{path}: {images} images, {verdict}"), soft_wrap=True)
    return count
