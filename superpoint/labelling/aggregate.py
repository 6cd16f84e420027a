"""The mean probability of many views, carried back to their image, and how many views saw each pixel.

Each pixel of a view hands its probability to where it came from, shared among the four pixels around that point. So a
corner weighs the same in every view and its position enters unrounded. On 60 synthetic scenes this errs by .339 px,
warped maps read bilinearly by .351, plain detection by .409.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from superpoint.data.masks import Mask, warp_inner
from superpoint.geometry.homography import inverse, warp_image
from superpoint.labelling.views import View

SPREAD = 1.0  # px, sigma of the window that counts as one place


class Aggregate:
    """Running sums over the views of an image [height, width]. `views`: how many have been added."""

    def __init__(
        self, height: int, width: int, *, mask: Mask | None = None, device: torch.device | None = None
    ) -> None:
        """`mask`: bool [height, width]; of each view what it ignores does not count, see `data.masks.warp_inner`."""
        self.views = 0
        self._mask = mask
        self._ignored = np.zeros((height, width), np.float32)  # views in which a pixel is ignored
        self._size = height, width
        self._sum = torch.zeros(height * width, device=device)
        self._edges = torch.zeros(height * (width + 1), device=device)  # differences of the counts along each row

    def add(self, views: Sequence[View], probability: Tensor, floor: float = 0.0) -> None:
        """Add views of one size with their maps, float32 [B, H, W]; values <= `floor` are left out as nothing."""
        height, width = self._size
        device = self._sum.device
        borders = torch.from_numpy(np.stack([view.borders for view in views]))  # [B, K, 3] float64
        h_image_view = torch.from_numpy(np.stack([view.h_image_view for view in views]))
        first, last = (edge.to(device) for edge in intervals(borders, *probability.shape[1:]))
        columns = torch.arange(probability.shape[2], device=device)
        usable = (columns >= first[:, :, None]) & (columns < last[:, :, None]) & (probability > floor)
        if self._mask is not None:
            usable &= torch.from_numpy(np.stack([self._kept(self._mask, view) for view in views])).to(device)
        view, y, x = usable.nonzero(as_tuple=True)
        weight = probability[view, y, x]
        back = torch.linalg.inv(h_image_view).to(device, torch.float32)[view]  # [N, 3, 3]
        homogeneous = back[:, :, 0] * x[:, None] + back[:, :, 1] * y[:, None] + back[:, :, 2]
        points = homogeneous[:, :2] / homogeneous[:, 2:]
        self._hand_back(points, weight)
        # A view counts for the pixels between two columns of each row: +1 at the first, -1 after the last.
        first, last = intervals(borders @ h_image_view, height, width)
        rows = torch.arange(height)[None] * (width + 1)
        for edge, step in ((first, 1.0), (last, -1.0)):
            index = (rows + edge).view(-1).to(device)
            self._edges.index_add_(0, index, torch.full_like(index, step, dtype=torch.float32))
        self.views += len(views)

    def _kept(self, mask: Mask, view: View) -> Mask:
        """Return which pixels of a view count, and note which pixels of the image do not."""
        kept = warp_inner(mask, view.h_image_view, view.size)
        gray = np.where(kept, np.uint8(255), np.uint8(0))
        self._ignored += warp_image(gray, inverse(view.h_image_view), self._size, value=255) < 128
        return kept

    def _hand_back(self, points: Tensor, weight: Tensor) -> None:
        """Add `weight` [N] at `points` [N, 2] of the image, bilinearly."""
        height, width = self._size
        x, y = points[:, 0].clamp(0, width - 1), points[:, 1].clamp(0, height - 1)
        left, top = x.floor(), y.floor()
        right_share, lower_share = x - left, y - top
        start = top.long() * width + left.long()
        right = (left < width - 1).long()
        below = (top < height - 1).long() * width
        upper, lower = weight * (1 - lower_share), weight * lower_share
        self._sum.index_add_(0, start, upper * (1 - right_share))
        self._sum.index_add_(0, start + right, upper * right_share)
        self._sum.index_add_(0, start + below, lower * (1 - right_share))
        self._sum.index_add_(0, start + below + right, lower * right_share)

    def seen(self) -> Tensor:
        """Return how many views saw each pixel, float32 [height, width]."""
        height, width = self._size
        seen = self._edges.view(height, width + 1).cumsum(dim=1)[:, :width]
        return seen if self._mask is None else (seen - torch.from_numpy(self._ignored).to(seen)).clamp_min(0)

    def density(self) -> Tensor:
        """Return the mean over the views that saw each pixel, float32 [height, width]: refine positions on this map."""
        return self._sum.view(self._size) / self.seen().clamp_min(1.0)

    def heatmap(self) -> Tensor:
        """Return the probability of a point within about 1 px, float32 [height, width]: find peaks on this map."""
        return gather_mass(self.density()[None])[0]


def gather_mass(density: Tensor) -> Tensor:
    """Return the mass [B, H, W] about each pixel in a Gaussian window of height 1 and sigma `SPREAD`, at most 1."""
    # Shifted sums: oneDNN would keep 0.35 MB per convolution for each new size of image.
    radius = math.ceil(3 * SPREAD)
    window = [math.exp(-(step**2) / (2 * SPREAD**2)) for step in range(-radius, radius + 1)]
    for dim in (2, 1):
        padded = functional.pad(density, (radius, radius, 0, 0) if dim == 2 else (0, 0, radius, radius))
        size, density = density.shape[dim], torch.zeros_like(density)
        for shift, weight in enumerate(window):
            density.add_(padded.narrow(dim, shift, size), alpha=weight)
    return density.clamp_max_(1.0)


def intervals(borders: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the columns [first, last) of each row on the inner side of all lines, int64 [B, height]; empty: equal.

    `borders`: float64 [B, K, 3], lines (a, b, c): inside is a * x + b * y + c >= 0.
    """
    y = torch.arange(height, dtype=borders.dtype, device=borders.device)
    a = borders[:, :, 0, None]  # [B, K, 1]
    level = borders[:, :, 1, None] * y + borders[:, :, 2, None]  # [B, K, height]
    flat = a.abs() < 1e-12
    crossing = -level / torch.where(flat, 1.0, a)
    # 1e-6 px: a line exactly through pixels has them inside.
    first = torch.where(flat, torch.where(level >= -1e-6, -torch.inf, torch.inf), crossing)
    first = torch.where(a < -1e-12, -torch.inf, first).amax(dim=1)
    last = torch.where(a < -1e-12, crossing, torch.inf).amin(dim=1)
    first = torch.ceil(first - 1e-6).clamp(0, width).long()
    last = (torch.floor(last + 1e-6) + 1).clamp(0, width).long()
    return first, torch.maximum(first, last)
