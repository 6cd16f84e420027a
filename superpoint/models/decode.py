"""From the detector's logits to keypoints: softmax, depth to space, suppression, sub-pixel refinement.

Keypoints are float32 (x, y) in the network's image, pixel centres at integers.
"""

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from superpoint.config.inference import BORDER, THRESHOLD
from superpoint.geometry.cells import CELL, CHANNELS, cells_to_pixels
from superpoint.geometry.peaks import plain, raster_places, refine_peaks, smooth_probability, values_at
from superpoint.models.suppression import suppress_non_maxima

DECODER_VERSION = 4  # raise it when keypoints change: features that older code left in a cache are then made anew


class Detections(NamedTuple):
    """Keypoints of one image, strongest first; equal scores in raster order.

    points: float32 [N, 2], (x, y), pixel centres at integers. scores: float32 [N], 0..1.
    """

    points: Tensor
    scores: Tensor


def logits_to_probability(logits: Tensor) -> Tensor:
    """Compute the probability that a pixel is an interest point: DeTone et al. 2018, section 3.2.

    Args:
        logits: [B, 65, H/8, W/8], any floating type; the softmax is in fp32.

    Returns:
        float32 [B, H, W]; the 64 pixels of a cell add up to 1 minus the probability of the dustbin.

    Raises: ValueError for another shape.
    """
    if logits.ndim != 4 or logits.shape[1] != CHANNELS:
        raise ValueError(f"logits: found shape {list(logits.shape)}, expected [B, 65, H/8, W/8]")
    return cells_to_pixels(logits.float().softmax(dim=1))


def probability_to_keypoints(
    probability: Tensor,
    *,
    nms_radius: int = 4,
    threshold: float = THRESHOLD,
    border: int = BORDER,
    max_keypoints: int = 0,
    subpixel: bool = True,
    valid: Tensor | None = None,
    smoothing: float = 0.0,
) -> list[Detections]:
    """Find the keypoints of each image of a batch of probability maps.

    Args:
        probability: float32 [B, H, W], 0..1.
        nms_radius: see `suppress_non_maxima`.
        threshold: keypoints have a probability > threshold.
        border: peaks nearer to the edge than this many pixels are dropped, after the suppression and before refinement.
        max_keypoints: strongest keypoints kept per image; 0 = all.
        subpixel: see `refine_peaks`; otherwise coordinates are whole numbers.
        valid: bool [B, H, W] or [H, W], true where keypoints are allowed; None = everywhere.
        smoothing: pixels, see `smooth_probability`; scores are of the smoothed map. 0 = none.

    Returns:
        B Detections, on the device of `probability`.
    """
    strength = smooth_probability(probability, smoothing) if smoothing else probability
    candidates = strength if valid is None else torch.where(valid, strength, 0.0)
    kept = suppress_non_maxima(candidates, nms_radius, threshold, max_keypoints=max_keypoints, border=border)
    if border > 0:
        kept[:, :border] = kept[:, -border:] = False
        kept[:, :, :border] = kept[:, :, -border:] = False
    detections = []
    for index, mask in enumerate(kept):
        y, x = raster_places(mask)
        scores, order = values_at(strength, torch.full_like(y, index), y, x).sort(descending=True, stable=True)
        if max_keypoints > 0:
            scores, order = scores[:max_keypoints], order[:max_keypoints]
        y, x = y[order], x[order]
        if subpixel:
            points = refine_peaks(probability, torch.full_like(y, index), y, x)
        else:
            points = torch.stack([x, y], dim=1)
        detections.append(Detections(points.float(), scores.float()))
    return detections


def pad_to_multiple(image: Tensor, multiple: int = CELL) -> Tensor:
    """Repeat the last row and column until both sides are multiples of `multiple`.

    Padding is on the right and bottom only, so coordinates do not change; crop the result with `[..., :H, :W]`.
    Repeating, unlike mirroring, makes no second corner beside one at the edge. [B, C, H, W] -> [B, C, H', W'].
    """
    height, width = image.shape[-2:]
    if height == 0 or width == 0:
        raise ValueError(f"image: found shape {list(image.shape)}, expected at least 1 x 1 pixel")
    below, right = -height % multiple, -width % multiple
    return functional.pad(image, (0, right, 0, below), mode="replicate") if below or right else image


def sample_descriptors(descriptors: Tensor, points: Iterable[Tensor]) -> list[Tensor]:
    """Sample descriptors bilinearly at points: float32 [N, D] of unit length per image.

    The centre of cell c lies at pixel 8 * c + 3.5; beyond the outermost centres the outermost descriptor holds.

    Args:
        descriptors: [B, D, H/8, W/8], any floating type.
        points: for each of the B images float [N, 2], (x, y) in pixels.
    """
    images = zip(descriptors.float().split(1), points, strict=True)
    return [_unit_rows(_interpolated(image, xy[None])[0]) for image, xy in images]


def interpolate_descriptors(descriptors: Tensor, points: Tensor) -> Tensor:
    """Sample descriptors [B, D, H/8, W/8] at points [B, K, 2] in pixels, differentiably: float32 [B, K, D]."""
    return functional.normalize(_interpolated(descriptors, points), dim=2)


def _interpolated(descriptors: Tensor, points: Tensor) -> Tensor:
    size = [descriptors.shape[-1] * CELL, descriptors.shape[-2] * CELL]
    pixels = torch.tensor(size, device=descriptors.device, dtype=torch.float32)
    # align_corners=False puts -1 and 1 on the outer edges of the outermost cells: pixels -0.5 and 8 * n - 0.5
    grid = (points.to(pixels) + 0.5) / pixels * 2 - 1
    values = functional.grid_sample(descriptors.float(), grid[:, None], padding_mode="border", align_corners=False)
    return values[:, :, 0].transpose(1, 2)


def _unit_rows(values: Tensor) -> Tensor:
    """Scale rows to unit length, in one thread if possible, see `geometry.peaks`."""
    if not plain(values):
        return functional.normalize(values, dim=1)
    rows = np.ascontiguousarray(cv2.transpose(values.numpy().T)) if values.numel() else values.numpy().copy()
    rows /= np.maximum(np.sqrt(np.einsum("nd,nd->n", rows, rows)), 1e-12)[:, None]
    return torch.from_numpy(rows)
