"""Non-maximum suppression of dense maps, exactly as the sequential rule has it.

On a CPU one dilation finds most points and the sequential rule itself the rest; elsewhere, and where nearly every pixel
is a candidate, rounds over all pixels at once find them.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

LARGEST = 1 << 23  # values in the windows looked at together: 100 MB
FEW = 8000  # candidates that the sequential rule alone is quicker for: 2 ms at most
# Of noise of 480x640, one core, the rounds take 1.3, 1.1 and 1.0 times as long as `_suppress_on_cpu` where a tenth, 0.3
# and a half of the pixels are candidates (radius 4). Of small windows more is left after the first round: with radius 1
# it is 1.0 to 1.5 at a tenth and 0.6 to 0.7 at 0.3. OpenCV's dilation costs by the radius: 1.9 at 16, 0.9 at 64.
SHARE = 1 / 3
SMALL_SHARE = 0.1  # for radii below 3
WIDEST = 32
MOST_PIXELS = 1 << 27  # of a map: see `_first_round`


def suppress_non_maxima(
    probability: Tensor, radius: int, threshold: float = 0.0, *, most: int = 0, border: int = 0
) -> Tensor:
    """Greedy non-maximum suppression in a square window, for a whole batch at once.

    The result is exactly that of the sequential rule "take the strongest pixel left, drop all others within `radius`
    of it along both axes (Chebyshev distance), repeat", so a weak peak whose stronger neighbour was itself dropped
    survives. Of equal values the first in raster order counts as the stronger, so a plateau gives one point a window,
    not a blob.

    Each round takes every pixel that is the largest of its window and drops their windows; the rounds end when no
    candidate is left. The first leaves a tenth to a quarter of the candidates of a photograph, so later ones look at
    these alone: 5 to 10 ms in place of 33 for 480x640 pixels above 0.0005 on one core. On a CPU the sequential rule is
    quicker still after the first round (`_suppress_on_cpu`), up to the share of candidates that SHARE says.

    Args:
        probability: float [B, H, W], >= 0.
        radius: pixels, >= 0; 0 keeps every pixel above the threshold.
        threshold: only values > threshold are candidates.
        most: if not 0, only this many strongest points of each image, farther than `border` from its edges, are sure to
            be in the result: quicker. A point falls to stronger ones alone, so once that many are certain, nothing
            weaker than all of them can matter.

    Returns:
        bool [B, H, W], true at the points kept. NaN is never a candidate.
    """
    probability = probability.detach()
    left = torch.where(probability > max(threshold, 0.0), probability, 0.0)
    if radius == 0:
        return left > 0
    if _better_in_sequence(left, radius):
        return _suppress_on_cpu(left, radius, most, border)
    kept = torch.zeros_like(left, dtype=torch.bool)
    window = (2 * radius + 1) ** 2
    while True:
        peaks = _window_peaks(left, radius)
        kept |= peaks
        left = torch.where(_within(peaks, radius), 0.0, left)
        if most:
            left = _no_weaker_than(left, kept, probability, most, border)
        count = int(left.count_nonzero())
        # A value of a window costs a quarter of what a pixel costs in a round over all of them.
        if count * window <= min(4 * left.numel(), LARGEST):
            return _suppress_the_rest(left, kept, radius) if count else kept


def _window_peaks(values: Tensor, radius: int) -> Tensor:
    """Pixels larger than all before them in raster order within `radius` and not smaller than those after them.

    values >= 0 [B, H, W] -> bool [B, H, W].
    """
    height, width = values.shape[-2:]
    beside = _sliding_max(functional.pad(values, (radius, radius)), radius, -1)
    before, after = beside[..., :width], beside[..., radius + 1 :]
    rows = torch.maximum(torch.maximum(before, after), values)
    beside = _sliding_max(functional.pad(rows, (0, 0, radius, radius)), radius, -2)
    above, below = beside[..., :height, :], beside[..., radius + 1 :, :]
    return (values > torch.maximum(before, above)) & (values >= torch.maximum(after, below))


def _within(mask: Tensor, radius: int) -> Tensor:
    """Pixels within `radius` of a true one along both axes: bool [B, H, W] -> bool [B, H, W]."""
    grown = functional.pad(mask.to(torch.uint8), (radius,) * 4)
    return _sliding_max(_sliding_max(grown, 2 * radius + 1, -1), 2 * radius + 1, -2) > 0


def _sliding_max(values: Tensor, length: int, axis: int) -> Tensor:
    """Largest of each `length` neighbours along an axis, which becomes shorter by length - 1.

    Elementwise maxima over doubling strides: 8 to 15 times faster on a CPU than max_pool2d, which is not vectorised
    there.
    """
    size, width = values.shape[axis] - length + 1, 1  # values[i] covers the pixels i .. i + width - 1
    while 2 * width <= length:
        reach = values.shape[axis] - width
        values = torch.maximum(values.narrow(axis, 0, reach), values.narrow(axis, width, reach))
        width *= 2
    return torch.maximum(values.narrow(axis, 0, size), values.narrow(axis, length - width, size))


def _no_weaker_than(left: Tensor, certain: Tensor, probability: Tensor, most: int, border: int) -> Tensor:
    """Candidates [B, H, W] of each image without those weaker than its `most` strongest certain points."""
    height, width = left.shape[-2:]
    inner = (slice(border, max(height - border, border)), slice(border, max(width - border, border)))
    least = left.new_zeros(len(left))
    for index in range(len(left)):
        values = probability[index][inner][certain[index][inner]]
        if len(values) >= most:
            least[index] = values.topk(most).values[-1]
    return torch.where(left < least[:, None, None], 0.0, left)


def _suppress_the_rest(left: Tensor, kept: Tensor, radius: int) -> Tensor:
    """The rounds of `suppress_non_maxima` over a few candidates, by the windows of these alone."""
    padded = functional.pad(left, (radius,) * 4)  # windows neither leave it nor reach the next image
    values, found = padded.flatten(), torch.zeros_like(padded, dtype=torch.bool).flatten()
    steps = torch.arange(-radius, radius + 1, device=left.device)
    window = (steps[:, None] * padded.shape[-1] + steps).flatten()  # in raster order
    half = len(window) // 2
    places = values.nonzero()[:, 0]
    while len(places):
        around = values[places[:, None] + window]
        own = around[:, half]
        taken = places[(own > around[:, :half].amax(1)) & (own >= around[:, half + 1 :].amax(1))]
        found[taken] = True
        values[taken[:, None] + window] = 0.0
        places = places[values[places] > 0]
    inner = found.view_as(padded)[:, radius : padded.shape[1] - radius, radius : padded.shape[2] - radius]
    return kept | inner


def _better_in_sequence(left: Tensor, radius: int) -> bool:
    """Whether `_suppress_on_cpu` is right for these candidates [B, H, W], and quicker than rounds."""
    if left.device.type != "cpu" or left.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return False  # float64 has values that are equal in float32
    if left.shape[-2] * left.shape[-1] > MOST_PIXELS:
        return False
    count, allowed = int(left.count_nonzero()), SHARE if radius > 2 else SMALL_SHARE
    return count <= FEW or (radius <= WIDEST and count <= allowed * left.numel())


def _suppress_on_cpu(left: Tensor, radius: int, most: int, border: int) -> Tensor:
    """`suppress_non_maxima` of candidates [B, H, W] on the CPU, 0 where there is none; without NaN."""
    kept = np.zeros(tuple(left.shape), np.bool_)
    for index, image in enumerate(left.float().contiguous().numpy()):
        kept[index] = _suppress_in_sequence(image, radius, most, border)
    return torch.from_numpy(kept)


def _suppress_in_sequence(image: NDArray[np.float32], radius: int, most: int, border: int) -> NDArray[np.bool_]:
    height, width = image.shape
    left = image > 0
    peaks, values = np.zeros_like(left), image
    if np.count_nonzero(left) > FEW:
        values, peaks, left = _first_round(image, left, radius)
    if most:
        inner = (slice(border, max(height - border, border)), slice(border, max(width - border, border)))
        certain = values[inner][peaks[inner]]
        if len(certain) >= most:  # a point falls to stronger ones alone: nothing weaker can matter any more
            left &= values >= np.partition(certain, len(certain) - most)[len(certain) - most]
    places = np.flatnonzero(left)
    places = places[np.argsort(-values.reshape(-1)[places], kind="stable")]
    # What is left, strongest first, in a byte map padded by `radius`, so that no window leaves it.
    stride, side = width + 2 * radius, 2 * radius + 1
    taken, ones = bytearray(stride * (height + 2 * radius)), b"\1" * side
    y, x = np.divmod(places, max(width, 1))
    starts, middle = (y * stride + x).tolist(), radius * stride + radius
    found = []
    for place, start in zip(places.tolist(), starts, strict=True):
        if not taken[start + middle]:
            found.append(place)
            for first in range(start, start + side * stride, stride):
                taken[first : first + side] = ones
    peaks.reshape(-1)[np.array(found, np.int64)] = True
    return peaks


def _first_round(
    image: NDArray[np.float32], candidates: NDArray[np.bool_], radius: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Distinct values, the largest of their windows, which are certain, and the candidates in no window of these."""
    # Distinct values in the same order, of equals the first in raster order the largest: float32 has 24 bits, a double
    # 53, so that 27 are left for the place. Infinity is beyond the largest float32, 2**128, and within a double.
    unit = 2.0 ** -(25 + max(image.size - 1, 1).bit_length())
    values = image.astype(np.float64)
    np.minimum(values, 2.0**129, out=values)
    values *= 1.0 - unit * np.arange(image.size, dtype=np.float64).reshape(image.shape)
    window = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    peaks = (values == cv2.dilate(values, window)) & candidates
    left = candidates & (cv2.dilate(peaks.view(np.uint8), window) == 0)
    return values, peaks, left
