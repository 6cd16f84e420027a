"""Random grey textures without corners: backgrounds and fills."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def smooth_noise(rng: np.random.Generator, height: int, width: int, amplitude: float) -> NDArray[np.float32]:
    """Draw zero-mean noise [height, width] with standard deviation near `amplitude`, coarse or fine."""
    cell = float(np.exp(rng.uniform(np.log(2.0), np.log(max(height, width, 5) / 2))))
    rows, columns = max(int(height / cell), 1) + 3, max(int(width / cell), 1) + 3
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    coarse *= amplitude * 1.4  # interpolation takes about a third of the deviation
    # Oriented: now and then much longer one way than the other, like wood grain or brushed metal.
    if rng.random() < 0.2:
        coarse = coarse[: max(rows // 6, 2)] if rng.random() < 0.5 else coarse[:, : max(columns // 6, 2)]
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def background(rng: np.random.Generator, height: int, width: int, texture: float) -> NDArray[np.uint8]:
    """Draw a background uint8: uniform, or with probability `texture` a ramp, clouds, blobs or grain."""
    level = rng.uniform(10, 245)
    if rng.random() >= texture:
        return np.full((height, width), level, np.uint8)
    kind = rng.integers(5)
    canvas = np.full((height, width), level, np.float32)
    if kind in (0, 4):  # ramp
        angle, rise = rng.uniform(0, 2 * np.pi), rng.uniform(10, 120)
        along = np.cos(angle) * np.linspace(-0.5, 0.5, width, dtype=np.float32)
        down = np.sin(angle) * np.linspace(-0.5, 0.5, height, dtype=np.float32)
        canvas += np.float32(rise) * (along[None, :] + down[:, None])
    if kind in (1, 4):  # clouds
        canvas += smooth_noise(rng, height, width, rng.uniform(3, 22))
    if kind == 2:  # blurred blobs
        small = np.full((height // 4 + 1, width // 4 + 1), level, np.float32)
        for _ in range(int(rng.integers(3, 20))):
            centre = (int(rng.integers(small.shape[1])), int(rng.integers(small.shape[0])))
            cv2.circle(small, centre, int(rng.integers(2, 12)), float(rng.uniform(0, 255)), -1)
        blur = int(rng.integers(2, 8)) * 2 + 1
        small = cv2.blur(cv2.blur(small, (blur, blur)), (blur, blur))
        small += np.float32(level) - small.mean(dtype=np.float32)
        canvas = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    if kind == 3:  # grain
        canvas += rng.standard_normal((height, width), dtype=np.float32) * np.float32(rng.uniform(1, 12))
    return np.asarray(cv2.convertScaleAbs(np.maximum(canvas, 0)), np.uint8)
