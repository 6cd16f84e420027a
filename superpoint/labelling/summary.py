"""What a set of labels looks like as a whole, and the ways for it to be wrong that show in figures."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superpoint.features import Features
from superpoint.geometry.homography import resize_points
from superpoint.geometry.placement import Placement, PlacementTally

BLOCK = 16  # pixels; side of the blocks whose share with a point is the coverage

# Limits of the alarms. The pretrained magicpoint lies well inside each on photographs (tests/evaluation).
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


class Tally:
    """What a `Summary` is made of: 16 bytes an image, and the tallies of parts add up to that of the whole."""

    def __init__(self) -> None:
        self.counts = array("q")  # points of each image
        self.areas = array("q")  # its pixels as the network saw it, 0 if the size is not known
        self.coverage = 0.0  # sum over the images of known size
        self.views, self.adapted = 0, 0  # sum, and number of images, of adaptation
        self.placed = PlacementTally()

    def add(self, item: Features, working_size: Callable[[int, int], tuple[int, int]]) -> None:
        """The features of an image; `working_size` as for `summarise`."""
        self.counts.append(len(item.keypoints))
        if item.views is not None:
            self.views += item.views
            self.adapted += 1
        if item.image_size == (0, 0):
            self.areas.append(0)
            return
        width, height = working_size(*item.image_size)
        xy = resize_points(item.keypoints, width / item.image_size[0], height / item.image_size[1])
        self.areas.append(width * height)
        self.coverage += coverage(xy, height, width)
        self.placed.add(xy, height, width)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `add_dict` reads it."""
        placed = {**vars(self.placed), "places": self.placed.places.tolist()}
        return {**vars(self), "counts": list(self.counts), "areas": list(self.areas), "placed": placed}

    def add_dict(self, other: Mapping[str, Any]) -> None:
        """Add the tally of other images."""
        for key in ("counts", "areas"):
            getattr(self, key).extend(other[key])
        for key in ("coverage", "views", "adapted"):
            setattr(self, key, getattr(self, key) + other[key])
        for key, value in other["placed"].items():
            setattr(self.placed, key, getattr(self.placed, key) + (np.array(value) if key == "places" else value))

    def summary(self, skipped: int = 0) -> Summary:
        """Figures over the images tallied; `skipped`: images that were not labelled."""
        counts, areas = np.array(self.counts, np.int64), np.array(self.areas, np.int64)
        sized = areas > 0
        found = Summary(
            images=len(counts),
            skipped=skipped,
            points=int(counts.sum()),
            fewest=int(counts.min(initial=counts.max(initial=0))),
            median=float(np.median(counts)) if len(counts) else 0.0,
            most=int(counts.max(initial=0)),
            empty=int((counts == 0).sum()),
            density=float(np.median(counts[sized] / areas[sized] * 1e4)) if sized.any() else math.nan,
            coverage=self.coverage / int(sized.sum()) if sized.any() else math.nan,
            views=self.views / self.adapted if self.adapted else math.nan,
            placement=self.placed.placement(),
            alarms=[],
        )
        return found._replace(alarms=_alarms(found))


def summarise(
    features: Iterable[Features], working_size: Callable[[int, int], tuple[int, int]], skipped: int = 0
) -> Summary:
    """Figures over all images.

    Args:
        features: of each image; without an `image_size` (0, 0) only its points are counted.
        working_size: (width, height) of an image -> that at which the network saw it. Border and cell mean something
            in those pixels only.
        skipped: images that were not labelled.
    """
    tally = Tally()
    for item in features:
        tally.add(item, working_size)
    return tally.summary(skipped)


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
