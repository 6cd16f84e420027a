"""Where in the image, and where in its 8x8 cell, detections fall."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from superpoint.geometry.cells import CELL
from superpoint.geometry.homography import inside


@dataclass(frozen=True)
class Placement:
    keypoints: int
    border: float  # density within 8 px of the outline, relative to the whole image; 1 = no preference
    phase: float  # chi-square of the 64 pixels of a cell over 63 degrees of freedom; 1 = even, well above = grid
    fullest: float  # share of the commonest of the 8 columns or 8 rows of a cell; 0.125 = no preference


class PlacementTally:
    """Counts behind a `Placement`, summed over images."""

    def __init__(self) -> None:
        self.near = 0  # points within the band at the outline
        self.band_area = self.area = 0  # pixels
        self.places = np.zeros((CELL, CELL), np.int64)  # points by row and column of their cell

    def add(self, points: NDArray[np.floating], height: int, width: int) -> None:
        """Add the points [N, 2] of an image."""
        self.near += int((~inside(points, height, width, CELL)).sum())
        self.band_area += height * width - max(height - 2 * CELL, 0) * max(width - 2 * CELL, 0)
        self.area += height * width
        pixel = np.floor(points + 0.5).astype(int) % CELL
        np.add.at(self.places, (pixel[:, 1], pixel[:, 0]), 1)

    def placement(self) -> Placement:
        count = int(self.places.sum())
        if count == 0:
            return Placement(0, float("nan"), float("nan"), float("nan"))
        expected = count / CELL**2
        statistic = float(((self.places - expected) ** 2 / expected).sum())
        fullest = max(self.places.sum(axis=0).max(), self.places.sum(axis=1).max()) / count
        border = self.near / count / (self.band_area / self.area)
        return Placement(count, border, statistic / (CELL**2 - 1), float(fullest))


def measure_placement(points: list[NDArray[np.floating]], sizes: list[tuple[int, int]]) -> Placement:
    """Return the placement of the points [N, 2] of images with sizes (height, width), all together."""
    tally = PlacementTally()
    for xy, (height, width) in zip(points, sizes, strict=True):
        tally.add(xy, height, width)
    return tally.placement()
