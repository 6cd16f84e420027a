"""Figures of a set of labels, and alarms where they are wrong."""

import math
from array import array
from collections.abc import Iterable, Mapping
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


class Tally:
    """What a `Summary` is made of; the tallies of parts add up."""

    def __init__(self) -> None:
        self.counts = array("q")  # points of each image
        self.areas = array("q")  # its pixels as the network saw it, 0 if the size is not known
        self.coverage = 0.0  # sum over the images of known size
        self.views, self.adapted = 0, 0  # sum, and number of images, of adaptation
        self.oriented = 0  # images that EXIF turns
        self.placed = PlacementTally()

    def add(self, item: Features, resize: int) -> None:
        """Add the features of an image that the network saw at `resize`, see `shrunk_size`, and in their frame."""
        self.counts.append(len(item.keypoints))
        if item.views is not None:
            self.views += item.views
            self.adapted += 1
        self.oriented += item.orientation > 1
        if item.image_size == (0, 0):
            self.areas.append(0)
            return
        height, width = shrunk_size(item.image_size[1], item.image_size[0], resize)
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
        for key in ("coverage", "views", "adapted", "oriented"):
            setattr(self, key, getattr(self, key) + other[key])
        for key, value in other["placed"].items():
            setattr(self.placed, key, getattr(self.placed, key) + (np.array(value) if key == "places" else value))

    def summary(self, skipped: int = 0) -> Summary:
        """Summarise the images tallied; `skipped` others were not labelled."""
        counts, areas = np.array(self.counts, np.int64), np.array(self.areas, np.int64)
        sized = areas > 0
        found = Summary(
            images=len(counts),
            skipped=skipped,
            keypoints=int(counts.sum()),
            min=int(counts.min()) if len(counts) else 0,
            median=float(np.median(counts)) if len(counts) else 0.0,
            max=int(counts.max(initial=0)),
            empty=int((counts == 0).sum()),
            oriented=self.oriented,
            density=float(np.median(counts[sized] / areas[sized] * 1e4)) if sized.any() else math.nan,
            coverage=self.coverage / int(sized.sum()) if sized.any() else math.nan,
            views=self.views / self.adapted if self.adapted else math.nan,
            placement=self.placed.placement(),
            alarms=[],
        )
        return found._replace(alarms=_alarms(found))


def summarise(features: Iterable[Features], resize: int, skipped: int = 0) -> Summary:
    """Summarise the features of images that the network saw at `resize`; `skipped` others were not labelled."""
    tally = Tally()
    for item in features:
        tally.add(item, resize)
    return tally.summary(skipped)


def coverage(points: NDArray[np.floating], height: int, width: int, block: int = BLOCK) -> float:
    """Return the share of an image's blocks that hold one of its points [N, 2]."""
    down, across = -(-height // block), -(-width // block)
    x, y = np.floor((points + 0.5) / block).astype(int).clip(0, [across - 1, down - 1]).T
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
