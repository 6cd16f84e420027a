"""Images whose content lies at known places."""

import numpy as np


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
