"""From the detector's logits to keypoints: softmax, depth to space, suppression, sub-pixel refinement.

Keypoints are float32 (x, y) in the network's image, pixel centres at integers.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from superpoint.config import DecodeConfig
from superpoint.geometry.cells import CELL, CHANNELS, cells_to_pixels
from superpoint.geometry.peaks import plain, raster_places, refine_peaks, smooth_probability, values_at
from superpoint.models.suppression import limit_per_cell, suppress_strip

# Pixels, for networks that were trained jointly with descriptors: their points are matched, and ranked for that.
SMOOTHING = 1.0
DECODER_VERSION = 4  # raise it when keypoints change: features that older code left in a cache are then made anew


class Detections(NamedTuple):
    """Keypoints of one image, strongest first; equal scores in raster order.

    points: float32 [N, 2], (x, y), pixel centres at integers. scores: float32 [N], 0..1. descriptors: float32 [N, D] of
    unit length, None without a map of them. places: int64 [N], of the peaks before refinement, in raster order.
    """

    points: Tensor
    scores: Tensor
    descriptors: Tensor | None
    places: Tensor


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
    valid: Tensor | None = None,
    smoothing: float = 0.0,
    density: Tensor | None = None,
    **settings: Any,
) -> list[Detections]:
    """Find the keypoints of each image of a batch of probability maps float32 [B, H, W], 0..1.

    Args: `settings` are fields of `DecodeConfig`; for the others see `Decoder`.
    """
    height, width = probability.shape[-2:]
    decode = DecodeConfig(**settings)
    decoder = Decoder((width, height), decode, valid=valid, smoothing=smoothing, density=density)
    decoder.add(probability)
    return decoder.found()


class Decoder:
    """Makes keypoints of probability maps, which come whole or in strips of rows from the top: both give the same.

    Suppression sees the maps as one: what the next strip may change waits for it.

    Args:
        size: (width, height) of the images.
        decode: `nms_radius`, see `suppress_non_maxima`; keypoints have a probability > `threshold`; peaks nearer to the
            edge than `border` pixels are dropped, after the suppression and before refinement; `subpixel`, see
            `refine_peaks`, otherwise coordinates are whole numbers; `grid` leaves `per_cell` keypoints in each cell,
            then `max_keypoints` count (0 = all), the strongest each time.
        valid: bool [B, H, W] or [H, W], true where keypoints are allowed; None = everywhere.
        smoothing: pixels, see `smooth_probability`; scores are of the smoothed map. 0 = none; None = SMOOTHING if there
            are descriptors, else none.
        density: float32 [B, H, W], refines peaks in place of the probability; for whole maps only.
    """

    def __init__(
        self,
        size: tuple[int, int],
        decode: DecodeConfig,
        *,
        valid: Tensor | None = None,
        smoothing: float | None = None,
        density: Tensor | None = None,
    ) -> None:
        self.size, self.decode, self.valid, self.smoothing, self.density = size, decode, valid, smoothing, density
        self._strongest = 0 if decode.grid else decode.max_keypoints  # no others can be chosen
        self._parts: list[list[Detections]] = []  # of each image
        self._top = 0  # row of the image where the rows begin that the next strip needs
        self._rows: tuple[Tensor, Tensor | None] | None = None  # their probability and descriptors
        self._decided: Tensor | None = None  # bool [B, n, W], of the first n of them: no candidates any more

    def add(self, probability: Tensor, descriptors: Tensor | None = None) -> None:
        """Take the next rows of the maps, float32 [B, h, W] and [B, D, ceil(h / 8), ceil(W / 8)].

        The height of a strip is a multiple of 8, but of the last.
        """
        if self.smoothing is None:
            self.smoothing = 0.0 if descriptors is None else SMOOTHING
        if self._rows is not None:
            probability = torch.cat([self._rows[0], probability], dim=1)
            if descriptors is not None and self._rows[1] is not None:
                descriptors = torch.cat([self._rows[1], descriptors], dim=2)
        height, top, decode = self.size[1], self._top, self.decode
        last = top + probability.shape[1] == height
        # Smoothing, refinement and descriptors look at a few rows more.
        ready = probability.shape[1] if last else probability.shape[1] - CELL
        strength = smooth_probability(probability, self.smoothing) if self.smoothing else probability
        candidates = strength[:, :ready]
        if self.valid is not None:
            allowed = self.valid[..., top : top + ready, :].to(probability.device)
            candidates = torch.where(allowed, candidates, 0.0)
        if self._decided is not None:
            candidates = candidates.clone()
            candidates[:, : self._decided.shape[1]].masked_fill_(self._decided, 0.0)
        border, limits = decode.border, (decode.nms_radius, decode.threshold, self._strongest, decode.border)
        kept, undecided = suppress_strip(candidates, *limits, last=last)
        if border > 0:
            kept[:, : max(border - top, 0)] = kept[:, max(height - border - top, 0) :] = False
            kept[:, :, :border] = kept[:, :, -border:] = False
        self._parts = self._parts or [[] for _ in kept]
        for index, (parts, mask) in enumerate(zip(self._parts, kept, strict=True)):
            parts.append(self._detections(index, mask, probability, strength, descriptors))
            if self._strongest:
                parts[:] = [self._joined(parts)]
        if not last:
            waiting = undecided.any(dim=2).any(dim=0).nonzero()
            first = max((int(waiting[0]) if len(waiting) else ready) // CELL - 1, 0)  # row of cells
            # Copies: a view would keep all rows.
            below = None if descriptors is None else descriptors[:, :, first:].clone()
            self._rows = probability[:, first * CELL :].clone(), below
            self._decided = ~undecided[:, first * CELL :]
            self._top += first * CELL

    def found(self) -> list[Detections]:
        """Return the keypoints of each image after the last strip."""
        return [self._joined(parts) for parts in self._parts]

    def _detections(
        self, index: int, mask: Tensor, probability: Tensor, strength: Tensor, descriptors: Tensor | None
    ) -> Detections:
        """Return the keypoints at the true pixels of `mask`, strongest first."""
        y, x = raster_places(mask)
        scores, order = values_at(strength, torch.full_like(y, index), y, x).sort(descending=True, stable=True)
        if self._strongest:
            scores, order = scores[: self._strongest], order[: self._strongest]
        y, x = y[order], x[order]
        points = torch.stack([x, y], dim=1).float()
        if self.decode.subpixel:
            density = probability if self.density is None else self.density
            points = refine_peaks(density, torch.full_like(y, index), y, x).float()
        described = None
        if descriptors is not None:
            (described,) = sample_descriptors(descriptors[index : index + 1], [points])
        points[:, 1] += self._top
        return Detections(points, scores.float(), described, (y + self._top) * self.size[0] + x)

    def _joined(self, parts: list[Detections]) -> Detections:
        """Return the keypoints chosen from the parts, whose list it empties."""
        points = torch.cat([each.points for each in parts])
        scores = torch.cat([each.scores for each in parts])
        places = torch.cat([each.places for each in parts])
        order = torch.arange(len(points), device=points.device)
        if len(parts) > 1:
            order = places.argsort()
            order = order[scores[order].sort(descending=True, stable=True).indices]
        if self.decode.grid:
            best = limit_per_cell(points[order].cpu().numpy(), self.size, self.decode.grid, self.decode.per_cell)
            order = order[torch.from_numpy(best).to(order.device)]
        order = order[: self.decode.max_keypoints or None]
        if len(parts) == 1 and len(order) == len(points):
            return parts[0]
        described = parts[0].descriptors
        if len(parts) > 1 and described is not None:
            described, row = described.new_empty(len(points), described.shape[1]), 0
            while parts:  # one is freed after the other: they may take most of the memory
                values = cast(Tensor, parts.pop(0).descriptors)
                described[row : row + len(values)] = values
                row += len(values)
        if described is not None and len(order) == len(points):
            for columns in described.split(16, dim=1):
                columns.copy_(columns[order])
        elif described is not None:
            described = described[order]
        return Detections(points[order], scores[order], described, places[order])


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
