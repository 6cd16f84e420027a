"""What a set of labels looks like as a whole, and the ways for it to be wrong that show in figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superpoint.data.labels import Features
from superpoint.evaluation.placement import Placement, measure_placement
from superpoint.geometry.homography import resize_points

BLOCK = 16  # pixels; side of the blocks whose share with a point is the coverage
PLACED = 20_000  # images whose points are kept for the placement: the first ones, 50 MB at 300 points each

# Limits of the alarms. The released magicpoint lies well inside each on photographs (tests/evaluation).
LEAST_DENSITY = 1.0  # points in 100 x 100 pixels, median of the images
MOST_EMPTY = 0.2  # share of images without any point
MOST_BORDER = 2.0  # density within 8 px of the outline over that of the whole image
MOST_FULLEST = 0.25  # share of the fullest row or column of an 8x8 cell; even is 0.125
MOST_SKIPPED = 0.1  # share of images
LEAST_POINTS = 500  # below, placement says nothing


class Summary(NamedTuple):
    images: int
    skipped: int
    points: int
    fewest: int
    median: float
    most: int
    empty: int  # images without a point
    density: float  # points in 100 x 100 pixels as the network saw them, median of the images
    coverage: float  # share of 16 x 16 blocks that hold a point, mean of the images
    views: float  # mean of adaptation; NaN if there was none
    placement: Placement  # in pixels as the network saw them
    alarms: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: NaN is None."""
        tree = {**self._asdict(), "placement": vars(self.placement)}
        return {key: _plain(value) for key, value in tree.items()}


def summarise(
    features: Iterable[Features], working_size: Callable[[int, int], tuple[int, int]], skipped: int = 0
) -> Summary:
    """Figures over all images.

    Args:
        features: of each image; without an `image_size` only its points are counted.
        working_size: (width, height) of an image -> that at which the network saw it. Border and cell mean something
            in those pixels only.
        skipped: images that were not labelled.
    """
    counts, densities, coverages, views = [], [], [], []
    points: list[NDArray[np.float32]] = []
    sizes: list[tuple[int, int]] = []
    for item in features:
        count = len(item.keypoints)
        counts.append(count)
        if item.views is not None:
            views.append(item.views)
        if item.image_size is None:
            continue
        width, height = working_size(*item.image_size)
        xy = resize_points(item.keypoints, width / item.image_size[0], height / item.image_size[1])
        densities.append(count / (width * height) * 1e4)
        coverages.append(coverage(xy, height, width))
        if len(points) < PLACED:
            points.append(xy)
            sizes.append((height, width))
    found = Summary(
        images=len(counts),
        skipped=skipped,
        points=sum(counts),
        fewest=min(counts, default=0),
        median=float(np.median(counts)) if counts else 0.0,
        most=max(counts, default=0),
        empty=counts.count(0),
        density=float(np.median(densities)) if densities else math.nan,
        coverage=float(np.mean(coverages)) if coverages else math.nan,
        views=float(np.mean(views)) if views else math.nan,
        placement=measure_placement(points, sizes),
        alarms=[],
    )
    return found._replace(alarms=_alarms(found))


def coverage(points: NDArray[np.floating], height: int, width: int, block: int = BLOCK) -> float:
    """Share of the blocks of an image that hold one of its points [N, 2]; the blocks at the right and below may be cut.

    Points are evenly spread if it is high, in clusters if it is low for their number.
    """
    down, across = -(-height // block), -(-width // block)
    places = np.floor((points + 0.5) / block).astype(int)
    x, y = places[:, 0].clip(0, across - 1), places[:, 1].clip(0, down - 1)
    return len(np.unique(y * across + x)) / (down * across)


def _alarms(found: Summary) -> list[str]:
    alarms = []
    total = found.images + found.skipped
    if total and found.skipped > MOST_SKIPPED * total:
        alarms.append(f"{found.skipped} of {total} images were skipped: see the reasons")
    if found.images and found.empty > MOST_EMPTY * found.images:
        alarms.append(
            f"{found.empty} of {found.images} images have no point: the labels collapse; lower decode.threshold, "
            "or train longer before labelling"
        )
    elif found.density < LEAST_DENSITY:
        alarms.append(
            f"the median image has {found.density:.2f} points in 100 x 100 pixels, fewer than {LEAST_DENSITY:g}: the "
            "labels collapse; lower decode.threshold, or train longer before labelling"
        )
    if found.placement.points >= LEAST_POINTS:
        if found.placement.border > MOST_BORDER:
            alarms.append(
                f"points are {found.placement.border:.1f} times as dense at the border as in the whole image: the "
                "network marks the outline; train with the valid mask, or raise decode.border"
            )
        if found.placement.fullest > MOST_FULLEST:
            alarms.append(
                f"{found.placement.fullest:.0%} of the points lie in one row or column of the 8x8 cell (even: 12.5 %): "
                "the network marks the grid of its cells, not corners"
            )
    return alarms


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
