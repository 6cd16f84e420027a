"""Images whose content lies at known places."""

import numpy as np
from numpy.typing import NDArray

from tests.conftest import photograph


def spots(points: np.ndarray, height: int, width: int, sigma: float) -> np.ndarray:
    """A Gaussian at each of the points [N, 2] (x, y), float64 [height, width], 0..1."""
    y, x = np.mgrid[:height, :width]
    image = np.zeros((height, width))
    for px, py in points:
        image += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
    return image.clip(0, 1)


def gray_spots(points: np.ndarray, height: int, width: int, sigma: float) -> np.ndarray:
    return np.rint(255 * spots(points, height, width, sigma)).astype(np.uint8)


def centroid(image: np.ndarray) -> np.ndarray:
    """(x, y) of the centre of mass of an image."""
    weight = image.astype(np.float64)
    y, x = np.indices(weight.shape)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def lens(name: str = "astronaut", height: int = 120, width: int = 160) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A photograph [H, W] within a black lens circle, not in the middle, and its mask; nothing else is black."""
    y, x = np.mgrid[:height, :width]
    mask = np.hypot(x - 0.42 * width, y - 0.55 * height) < 0.4 * height
    return np.where(mask, photograph(name, height, width) // 4 * 3 + 60, 0).astype(np.uint8), mask


def clearance(points: NDArray[np.number], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of points [N, 2] to the nearest pixel that a mask ignores."""
    ignored = np.argwhere(~mask)[:, ::-1]
    return np.array([np.hypot(*(ignored - point).T).min() for point in points])
