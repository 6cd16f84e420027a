"""Peaks of a probability map: smoothed, listed, refined to sub-pixels.

On a CPU, maps go through NumPy and OpenCV in one thread: the threads of torch would hold every core for 8 ms longer.
"""

import math

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SERIAL = 1 << 15  # values of an operation below which torch keeps to one thread


def plain(values: Tensor) -> bool:
    """Return whether NumPy and OpenCV may take the values: float32 on the CPU, without gradient."""
    return values.device.type == "cpu" and values.dtype == torch.float32 and not values.requires_grad


def all_finite(values: Tensor) -> bool:
    """Return whether values 0..1 are finite, as their sum is."""
    total = values.numpy().sum() if plain(values) else values.sum()
    return math.isfinite(float(total))


def raster_places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return (y, x), int64 [N] each, of the true pixels of a bool [H, W], in raster order."""
    if mask.device.type != "cpu":
        return mask.nonzero(as_tuple=True)  # type: ignore[return-value]  # of a map they are two
    y, x = np.divmod(np.flatnonzero(mask.numpy()), max(mask.shape[1], 1))
    return torch.from_numpy(y), torch.from_numpy(x)


def values_at(values: Tensor, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return `values[image, y, x]`, in one thread where possible."""
    if not plain(values):
        return values[image, y, x]
    return torch.from_numpy(values.numpy()[image.numpy(), y.numpy(), x.numpy()])


def smooth_probability(probability: Tensor, smoothing: float) -> Tensor:
    """Return the probability that a point lies within about `smoothing` pixels, [B, H, W] -> [B, H, W], 0..1.

    A point between pixels shares its probability among two or four of them; the sum over 5x5 pixels, weighted by a
    Gaussian that is 1 in the middle, does not depend on where it lies.
    """
    weights = [math.exp(-(step**2) / (2 * smoothing**2)) for step in (0, 1, 2)]
    if plain(probability):
        line = np.array([*weights[:0:-1], *weights], np.float32)
        total = np.empty(tuple(probability.shape), np.float32)
        for image, smoothed in zip(probability.numpy(), total, strict=True):
            if image.size:
                cv2.sepFilter2D(image, -1, line, line, dst=smoothed, borderType=cv2.BORDER_CONSTANT)
        return torch.from_numpy(np.minimum(total, 1.0, out=total))
    for axis in (-1, -2):
        size = probability.shape[axis]
        padded = functional.pad(probability, (2, 2) if axis == -1 else (0, 0, 2, 2))
        total = probability.clone()
        for step in (1, 2):
            total.add_(padded.narrow(axis, 2 - step, size), alpha=weights[step])
            total.add_(padded.narrow(axis, 2 + step, size), alpha=weights[step])
        probability = total
    return probability.clamp_(max=1.0)


def refine_peaks(probability: Tensor, image: Tensor, y: Tensor, x: Tensor, radius: int = 2) -> Tensor:
    """Refine peaks to sub-pixels: the mean of the probability in the window about each (soft-argmax).

    On Gaussian peaks of sigma 0.5 / 0.7 / 1 px it errs by .021 / .002 / .030 px, a parabola by .159 / .093 / .048.
    A window that crosses the image edge loses its opposite part too.

    Args:
        probability: float32 [B, H, W].
        image, y, x: int64 [N], indices of the peaks.

    Returns: float32 [N, 2], (x, y); at most 1 px (Euclidean) from the peak.
    """
    together = SERIAL // (2 * radius + 1) ** 2 if probability.device.type == "cpu" else max(len(y), 1)
    parts = zip(image.split(together), y.split(together), x.split(together), strict=True)
    return torch.cat([_refined(probability, *part, radius=radius) for part in parts])


def _refined(probability: Tensor, image: Tensor, y: Tensor, x: Tensor, *, radius: int) -> Tensor:
    height, width = probability.shape[-2:]
    steps = torch.arange(-radius, radius + 1, device=probability.device)
    rows, columns = y[:, None] + steps, x[:, None] + steps  # [N, K]
    rows_inside, columns_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    window = values_at(probability, image[:, None, None], rows[:, :, None], columns[:, None, :])
    window = window * (rows_inside & rows_inside.flip(1))[:, :, None]
    window = window * (columns_inside & columns_inside.flip(1))[:, None, :]  # [N, K, K]
    mass = window.sum(dim=(1, 2)).clamp_min(torch.finfo(window.dtype).tiny)
    offset = torch.stack([(window.sum(1) * steps).sum(1), (window.sum(2) * steps).sum(1)], dim=1) / mass[:, None]
    offset = offset / offset.norm(dim=1, keepdim=True).clamp_min(1.0)
    return torch.stack([x, y], dim=1).to(offset.dtype) + offset
