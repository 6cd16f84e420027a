"""Where in the image, and where in its 8x8 cell, detections fall: the two classic ways for a detector to be wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from superpoint.geometry.cells import CELL


@dataclass(frozen=True)
class Placement:
    """Attributes:
    points: how many there are.
    border: density of points within 8 px of the outline, relative to the whole image; 1 = no preference.
    phase: chi-square of the 64 places inside a cell over its 63 degrees of freedom; 1 = even, well above = grid.
    fullest: share of the points at the commonest of the 8 columns or 8 rows of a cell; 0.125 = no preference.
    """

    points: int
    border: float
    phase: float
    fullest: float


def measure_placement(points: list[NDArray[np.floating]], sizes: list[tuple[int, int]], band: int = CELL) -> Placement:
    """Placement of the points [N, 2] of images with sizes (height, width), all together."""
    count = sum(map(len, points))
    if count == 0:
        return Placement(0, float("nan"), float("nan"), float("nan"))
    near, area, total = 0, 0.0, 0.0
    places = np.zeros((CELL, CELL))
    for xy, (height, width) in zip(points, sizes, strict=True):
        inner = (
            (xy[:, 0] >= band - 0.5)
            & (xy[:, 1] >= band - 0.5)
            & (xy[:, 0] < width - band - 0.5)
            & (xy[:, 1] < height - band - 0.5)
        )
        near += int((~inner).sum())
        area += height * width - max(height - 2 * band, 0) * max(width - 2 * band, 0)
        total += height * width
        pixel = np.floor(xy + 0.5).astype(int) % CELL
        np.add.at(places, (pixel[:, 1], pixel[:, 0]), 1)
    expected = count / CELL**2
    statistic = float(((places - expected) ** 2 / expected).sum())
    fullest = max(places.sum(axis=0).max(), places.sum(axis=1).max()) / count
    return Placement(count, near / count / (area / total), statistic / (CELL**2 - 1), float(fullest))
