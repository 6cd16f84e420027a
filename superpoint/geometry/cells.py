"""Pixels <-> 8x8 cells. Channel k = 8 * row + col inside the cell; channel 64 is the dustbin, "no interest point".

That is the order of `torch.nn.functional.pixel_shuffle(8)`; a map [H, W] reshaped straight to [Hc, Wc, 64] is wrong.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

CELL = 8
DUSTBIN = CELL * CELL
CHANNELS = DUSTBIN + 1


def image_tensor(images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> torch.Tensor:
    """Return images [H, W] or [H, W, C] of one size as one tensor of their type, [B, C, H, W]."""
    pixels = np.array(images)
    return torch.from_numpy(pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, 3, 1).copy())


def encode_points(
    points: NDArray[np.floating], height: int, width: int, rng: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """Return the target [height / 8, width / 8] in 0..64 of points [N, 2] (x, y), the only place that rounds labels.

    Points off the image are ignored. Of several points in a cell one is drawn by `rng` (the last one without).
    Source: DeTone et al. 2018, section 3.4.
    """
    if height % CELL or width % CELL:
        raise ValueError(f"image of {height}x{width}: expected sides that are multiples of {CELL}")
    target = np.full((height // CELL, width // CELL), DUSTBIN, np.int64)
    xy = np.floor(np.asarray(points, np.float64).reshape(-1, 2) + 0.5)
    xy = xy[(xy >= 0).all(axis=1) & (xy[:, 0] < width) & (xy[:, 1] < height)].astype(np.int64)
    if rng is not None:
        xy = xy[rng.permutation(len(xy))]
    x, y = xy[:, 0], xy[:, 1]
    target[y // CELL, x // CELL] = CELL * (y % CELL) + x % CELL
    return target


def valid_cells(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the cells [H / 8, W / 8] whose 64 pixels are all valid in the mask [H, W]."""
    height, width = mask.shape
    return np.logical_and.reduce(mask.reshape(height // CELL, CELL, width // CELL, CELL), axis=(1, 3))


def cells_to_pixels(cells: torch.Tensor) -> torch.Tensor:
    """Return the map [B, H, W] of per-cell values [B, 64 or 65, H / 8, W / 8], without the dustbin."""
    return F.pixel_shuffle(cells[:, :DUSTBIN], CELL).squeeze(1)


def pixels_to_cells(pixels: torch.Tensor) -> torch.Tensor:
    """Return the per-cell values [B, 64, H / 8, W / 8] of a map [B, H, W]: the inverse of `cells_to_pixels`."""
    return F.pixel_unshuffle(pixels.unsqueeze(1), CELL)
