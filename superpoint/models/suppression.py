"""Exact non-maximum suppression, in rounds over all pixels; on a CPU the sequential rule takes the last candidates."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

PIXELS = 150  # whose part of a round on a CPU takes as long as the sequential rule with one candidate: 0.5 us
WIDEST = 64  # pixels: OpenCV's dilation costs by the radius, the rounds in torch by its logarithm


def suppress_non_maxima(
    probability: Tensor, radius: int, threshold: float = 0.0, *, max_keypoints: int = 0, border: int = 0
) -> Tensor:
    """Suppress all but the peaks of maps, greedily, in a square window.

    The result equals the sequential rule "take the strongest pixel left, drop all others within `radius` of it along
    both axes, repeat". Of equal values the first in raster order is the stronger.

    Args:
        probability: float [B, H, W], >= 0.
        radius: pixels, >= 0; 0 keeps every pixel above the threshold.
        threshold: only values > threshold are candidates.
        max_keypoints: if not 0, only that many strongest peaks per image, farther than `border` from its edges, are
            sure to be in the result: quicker on CPUs.

    Returns:
        bool [B, H, W], true at the peaks kept. NaN is never a candidate.
    """
    return suppress_strip(probability, radius, threshold, max_keypoints, border)[0]


def suppress_strip(
    probability: Tensor, radius: int, threshold: float, max_keypoints: int, border: int, *, last: bool = True
) -> tuple[Tensor, Tensor]:
    """Suppress as `suppress_non_maxima` in rows of larger maps: the rows below are unknown unless these are the `last`.

    Returns:
        kept, undecided: bool [B, H, W] each. Peaks kept are peaks of the whole map; undecided are candidates that the
        rows below may suppress, directly or by way of others.
    """
    probability, threshold = probability.detach(), max(threshold, 0.0)
    if radius == 0:
        kept = probability > threshold
        return kept, torch.zeros_like(kept)
    known = probability.shape[1] if last else max(probability.shape[1] - radius, 0)  # rows that see their whole window
    if _has_cpu_way(probability, radius):
        return _suppress_on_cpu(probability, radius, threshold, max_keypoints, border, known)
    left = torch.where(probability > threshold, probability, 0.0)
    kept = torch.zeros_like(left, dtype=torch.bool)
    while left.count_nonzero():
        peaks = _window_peaks(left, radius)
        peaks[:, known:] = False
        if not last and not peaks.any():
            break
        kept |= peaks
        left = torch.where(_within(peaks, radius), 0.0, left)
    return kept, left > 0


def limit_per_cell(
    points: NDArray[np.floating], size: tuple[int, int], grid: Sequence[int], per_cell: int
) -> NDArray[np.int64]:
    """Return the indices, ascending, of the first `per_cell` points in each cell of an image.

    Args:
        points: [N, 2] (x, y) in pixels, best first.
        size: (width, height) of the image, which reaches from -0.5 to width - 0.5.
        grid: (columns, rows) of cells.
    """
    column, row = np.floor((points + 0.5) * (np.array(grid) / size)).clip(0, np.array(grid) - 1).T.astype(np.int64)
    order = np.argsort(row * grid[0] + column, kind="stable")
    counts = np.bincount(row * grid[0] + column)
    place = np.arange(len(points)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its cell, of `order`
    return np.sort(order[place < per_cell])


def _window_peaks(values: Tensor, radius: int) -> Tensor:
    """Find pixels [B, H, W] larger than all before them within `radius` and not smaller than those after."""
    height, width = values.shape[-2:]
    beside = _sliding_max(functional.pad(values, (radius, radius)), radius, -1)
    before, after = beside[..., :width], beside[..., radius + 1 :]
    rows = torch.maximum(torch.maximum(before, after), values)
    beside = _sliding_max(functional.pad(rows, (0, 0, radius, radius)), radius, -2)
    above, below = beside[..., :height, :], beside[..., radius + 1 :, :]
    return (values > torch.maximum(before, above)) & (values >= torch.maximum(after, below))


def _within(mask: Tensor, radius: int) -> Tensor:
    """Find pixels within `radius` of a true one along both axes."""
    grown = functional.pad(mask.to(torch.uint8), (radius,) * 4)
    return _sliding_max(_sliding_max(grown, 2 * radius + 1, -1), 2 * radius + 1, -2) > 0


def _sliding_max(values: Tensor, length: int, axis: int) -> Tensor:
    """Return the largest of each `length` neighbours along an axis, 8 to 15 times faster on a CPU than max_pool2d."""
    size, width = values.shape[axis] - length + 1, 1  # values[i] covers the pixels i .. i + width - 1
    while 2 * width <= length:
        reach = values.shape[axis] - width
        values = torch.maximum(values.narrow(axis, 0, reach), values.narrow(axis, width, reach))
        width *= 2
    return torch.maximum(values.narrow(axis, 0, size), values.narrow(axis, length - width, size))


def _has_cpu_way(probability: Tensor, radius: int) -> bool:
    """Tell whether `_suppress_on_cpu` is right for this map, and quicker than rounds in torch."""
    short = (torch.float32, torch.float16, torch.bfloat16)  # float64 has values that are equal in float32
    return probability.device.type == "cpu" and probability.dtype in short and radius <= WIDEST


def _suppress_on_cpu(
    probability: Tensor, radius: int, threshold: float, max_keypoints: int, border: int, known: int
) -> tuple[Tensor, Tensor]:
    """Suppress in one thread: torch's threads wait in a loop for more work, 8 ms of each core."""
    if probability.dtype != torch.float32:  # what the threshold is in a short type differs from what it is in float32
        probability, threshold = torch.where(probability > threshold, probability, 0.0).float(), 0.0
    kept, undecided = (np.zeros(tuple(probability.shape), np.bool_) for _ in range(2))
    if kept.size:
        for index, each in enumerate(probability.numpy()):
            image = np.ascontiguousarray(each)
            kept[index], undecided[index] = _suppress_image(image, radius, threshold, max_keypoints, border, known)
    return torch.from_numpy(kept), torch.from_numpy(undecided)


def _suppress_image(
    image: NDArray[np.float32], radius: int, threshold: float, max_keypoints: int, border: int, known: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    height, width = image.shape
    left = image > np.float32(threshold)  # NaN is not
    kept = np.zeros_like(left)
    inner = (slice(border, max(height - border, border)), slice(border, max(width - border, border)))
    count = np.count_nonzero(left)
    while count * PIXELS > image.size:
        peaks = _certain_peaks(image, left, radius)
        peaks[known:] = False
        kept |= peaks
        left &= cv2.dilate(peaks.view(np.uint8), np.ones((2 * radius + 1,) * 2, np.uint8)) == 0
        if max_keypoints:
            certain = image[inner][kept[inner]]
            weaker = len(certain) - max_keypoints
            if weaker >= 0:  # a peak falls to stronger ones alone: nothing weaker can matter any more
                left &= image >= np.partition(certain, weaker)[weaker]
        before, count = count, np.count_nonzero(left)
        if (before - count) * PIXELS < image.size:  # a ramp or a plateau, of which a round takes but an edge
            break
    taken, unsure = _in_sequence(image, left, radius, known)
    undecided = np.zeros_like(left)
    kept.reshape(-1)[taken] = undecided.reshape(-1)[unsure] = True
    return kept, undecided


def _certain_peaks(image: NDArray[np.float32], left: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Find candidates `left` that no other in their window exceeds, nor equals before them in raster order."""
    side, width = 2 * radius + 1, image.shape[1]
    values = cv2.copyTo(image, left.view(np.uint8))  # 0 elsewhere
    places = np.flatnonzero((values == cv2.dilate(values, np.ones((side, side), np.uint8))) & left)
    # At a pixel the largest of its row and the radius - 1 above it, and of itself and the radius - 1 beside it: what is
    # before a place is at the pixel above it, and at that to its left.
    above = cv2.dilate(values, np.ones((radius, side), np.uint8), anchor=(radius, radius - 1)).reshape(-1)
    beside = cv2.dilate(values, np.ones((1, radius), np.uint8), anchor=(radius - 1, 0)).reshape(-1)
    own = values.reshape(-1)[places]
    first = (own > above[places - width]) | (places < width)
    first &= (own > beside[places - 1]) | (places % width == 0)
    peaks = np.zeros_like(left)
    peaks.reshape(-1)[places[first]] = True
    return peaks


def _in_sequence(
    image: NDArray[np.float32], left: NDArray[np.bool_], radius: int, known: int
) -> tuple[list[int], list[int]]:
    """Return the flat indices of peaks, and of undecided ones, among the candidates `left`, by the sequential rule.

    In rows from `known` on, a candidate depends on rows below the image.
    """
    height, width = image.shape
    places = np.flatnonzero(left)
    places = places[np.argsort(-image.reshape(-1)[places], kind="stable")]
    # Byte maps padded by `radius`, so that no window leaves them.
    stride, side = width + 2 * radius, 2 * radius + 1
    taken, unsure = (bytearray(stride * (height + 2 * radius)) for _ in range(2))
    unsure[(known + radius) * stride :] = b"\1" * (stride * (height + radius - known))
    ones, middle = b"\1" * side, radius * stride + radius
    y, x = np.divmod(places, width)
    found: list[int] = []
    undecided: list[int] = []
    for place, start in zip(places.tolist(), (y * stride + x).tolist(), strict=True):
        if taken[start + middle]:
            continue
        listed, marks = (undecided, unsure) if unsure[start + middle] else (found, taken)
        listed.append(place)
        for first in range(start, start + side * stride, stride):
            marks[first : first + side] = ones
    return found, undecided
