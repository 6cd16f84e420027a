"""Figures of a set of labels, and alarms where they are wrong."""

import math
from array import array
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superpoint.engine.run import json_values
from superpoint.features import Features
from superpoint.geometry.homography import resize_points, shrunk_size
from superpoint.geometry.placement import Placement, PlacementTally

BLOCK = 16  # pixels; side of the blocks whose share with a point is the coverage

# Limits of the alarms. The pretrained magicpoint lies well inside each on photographs (tests/evaluation).
MIN_DENSITY = 1.0  # keypoints in 100 x 100 pixels, median of the images
MAX_EMPTY = 0.2  # share of images without any keypoint
MAX_BORDER = 2.0  # density within 8 px of the outline, relative to the whole image
MAX_FULLEST = 0.25  # share of the fullest row or column of an 8x8 cell; even is 0.125
MAX_SKIPPED = 0.1  # share of images
MIN_PLACED = 500  # keypoints; below, placement says nothing


class Summary(NamedTuple):
    images: int
    skipped: int
    keypoints: int
    min: int  # keypoints in an image
    median: float
    max: int
    empty: int  # images without a keypoint
    oriented: int  # images that EXIF turns
    density: float  # keypoints in 100 x 100 pixels as the network saw them, median of the images
    coverage: float  # share of 16 x 16 blocks that hold a keypoint, mean of the images
    views: float  # of homographic adaptation, mean; NaN if there was none
    placement: Placement  # in pixels as the network saw them
    alarms: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: NaN is None."""
        tree = {**self._asdict(), "placement": vars(self.placement)}
        return {key: json_values(value) for key, value in tree.items()}


def summarise(features: Iterable[Features], resize: int, skipped: int = 0) -> Summary:
    """Summarise the features of images, in the frame in which the network saw them at `resize` (see `shrunk_size`).

    `skipped` others were not labelled.
    """
    counts, areas = array("q"), array("q")  # points, and pixels as the network saw them, of each image
    covered, views, adapted, oriented = 0.0, 0, 0, 0
    placed = PlacementTally()
    for item in features:
        counts.append(len(item))
        views, adapted = views + (item.views or 0), adapted + (item.views is not None)
        oriented += item.orientation > 1
        if item.image_size == (0, 0):
            areas.append(0)
            continue
        height, width = shrunk_size(item.image_size[1], item.image_size[0], resize)
        xy = resize_points(item.keypoints, width / item.image_size[0], height / item.image_size[1])
        areas.append(width * height)
        covered += coverage(xy, height, width)
        placed.add(xy, height, width)
    number, pixels = np.array(counts, np.int64), np.array(areas, np.int64)
    sized = pixels > 0
    found = Summary(
        images=len(number),
        skipped=skipped,
        keypoints=int(number.sum()),
        min=int(number.min()) if len(number) else 0,
        median=float(np.median(number)) if len(number) else 0.0,
        max=int(number.max(initial=0)),
        empty=int((number == 0).sum()),
        oriented=oriented,
        density=float(np.median(number[sized] / pixels[sized] * 1e4)) if sized.any() else math.nan,
        coverage=covered / int(sized.sum()) if sized.any() else math.nan,
        views=views / adapted if adapted else math.nan,
        placement=placed.placement(),
        alarms=[],
    )
    return found._replace(alarms=_alarms(found))


def coverage(points: NDArray[np.floating], height: int, width: int) -> float:
    """Return the share of an image's blocks that hold one of its points [N, 2]."""
    down, across = -(-height // BLOCK), -(-width // BLOCK)
    x, y = np.floor((points + 0.5) / BLOCK).astype(int).clip(0, [across - 1, down - 1]).T
    return len(np.unique(y * across + x)) / (down * across)


def _alarms(found: Summary) -> list[str]:
    alarms = []
    total = found.images + found.skipped
    if total and found.skipped > MAX_SKIPPED * total:
        alarms.append(f"{found.skipped} of {total} images were skipped: see the reasons")
    if found.images and found.empty > MAX_EMPTY * found.images:
        alarms.append(
            f"{found.empty} of {found.images} images have no keypoint: the labels collapse; lower the threshold, "
            "train longer before labelling, or see what masks ignore"
        )
    elif found.density < MIN_DENSITY:
        alarms.append(
            f"the median image has {found.density:.2f} keypoints in 100 x 100 pixels, fewer than {MIN_DENSITY:g}: the "
            "labels collapse; lower the threshold, or train longer before labelling"
        )
    if found.placement.keypoints >= MIN_PLACED:
        if found.placement.border > MAX_BORDER:
            alarms.append(
                f"keypoints are {found.placement.border:.1f} times as dense at the border as in the whole image: the "
                "network marks the outline; train with the valid mask, or raise decode.border"
            )
        if found.placement.fullest > MAX_FULLEST:
            alarms.append(
                f"{found.placement.fullest:.0%} of the keypoints lie in one row or column of the cell (even: 12.5 %): "
                "the network marks the grid of its cells, not corners"
            )
    return alarms
