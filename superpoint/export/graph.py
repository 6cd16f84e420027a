"""The exported graphs: the network for images of any size, and the network with its decoder.

They repeat `models.decode` with operators that every runtime has, without loops or branches on values.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superpoint.backends.pytorch import fold_batch_norms
from superpoint.config import DecodeConfig
from superpoint.geometry.cells import CELL
from superpoint.models.decode import logits_to_probability
from superpoint.models.superpoint import SuperPoint

ROUNDS = 8  # of suppression; photographs need 2 or 3 at threshold 0.015, up to 5 at 0.001 and 10 at 0.0001


class DenseGraph(nn.Module):
    """Image [B, C, H, W] of any size, 0..1 -> logits [B, 65, ceil(H/8), ceil(W/8)] and descriptors alike, if any.

    It pads to multiples of 8; the caller crops the probability to [H, W].

    Args:
        padding: False leaves that out, for images of one size. OpenCV cannot read its operators on whole numbers.
    """

    def __init__(self, model: SuperPoint, *, padding: bool = True) -> None:
        super().__init__()
        self.padding = padding
        model = fold_batch_norms(model).cpu().to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self.model = model.requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(_padded(image) if self.padding else image).values())


class FullGraph(nn.Module):
    """Image [B, C, H, W] of any size -> keypoints [B, K, 2], scores [B, K] and, if any, descriptors [B, K, D].

    Keypoints are float32 (x, y) in pixels, strongest first. K is fixed: missing ones have the score 0, the keypoint
    (-1, -1) and a descriptor of zeros.
    """

    def __init__(self, dense: DenseGraph, settings: DecodeConfig) -> None:
        super().__init__()
        self.dense, self.settings = dense, settings

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        output, settings = self.dense(image), self.settings
        height, width = image.shape[2], image.shape[3]
        probability = logits_to_probability(output[0])[:, :height, :width]
        candidates = torch.where(probability > settings.threshold, probability, 0.0)
        kept = suppress(candidates, settings.nms_radius)
        kept = kept * _inside(height, settings.border, image)[:, None] * _inside(width, settings.border, image)
        # K zeros behind the map: an image may have fewer than K pixels.
        flat = F.pad((candidates * kept).flatten(1), (0, settings.max_keypoints))
        scores, index = flat.topk(settings.max_keypoints, dim=1)
        index = index.clamp(max=height * width - 1)
        row = index // width
        column = index - row * width  # % by a size known later has no translation to ONNX
        keypoints = torch.stack([column, row], dim=2).to(image.dtype) + _offsets(probability, row, column)
        found = scores > 0
        listed = torch.where(found[..., None], keypoints, -1.0)
        if len(output) == 1:
            return listed, scores
        return listed, scores, _described(output[1], keypoints) * found[..., None].to(image.dtype)


def suppress(values: Tensor, radius: int, rounds: int = ROUNDS) -> Tensor:
    """Return `models.decode.suppress_non_maxima` as 1.0 and 0.0, computed in a fixed number of rounds.

    A round keeps the largest pixel of a window, the first in raster order among equals, and clears its window.
    Candidates left after the last round are dropped.

    Args:
        values: float [B, H, W], 0 where there is no candidate.
        radius: pixels, >= 0.
    """
    if radius == 0:
        return (values > 0).to(values.dtype)
    kept = torch.zeros_like(values)
    for _ in range(rounds):
        along = F.max_pool2d(values, (1, 2 * radius + 1), 1, (0, radius))  # of each row's window
        window = F.max_pool2d(along, (2 * radius + 1, 1), 1, (radius, 0))
        # Largest of the rows y - radius .. y - 1 and, in the same row, of x - radius .. x - 1.
        above = F.max_pool2d(F.pad(along, (0, 0, radius, 0)), (radius, 1), 1)[:, :-1]
        left = F.max_pool2d(F.pad(values, (radius, 0)), (1, radius), 1)[:, :, :-1]
        first = (values >= window) & (values > torch.maximum(above, left)) & (values > 0)
        peaks = first.to(values.dtype)
        kept = kept + peaks
        covered = F.max_pool2d(peaks, (1, 2 * radius + 1), 1, (0, radius))
        covered = F.max_pool2d(covered, (2 * radius + 1, 1), 1, (radius, 0))
        values = values * (1.0 - covered)
    return kept


def _padded(image: Tensor) -> Tensor:
    """Repeat the last row and column up to a multiple of 8; few runtimes pad by sizes known later."""
    for axis in (2, 3):
        size = image.shape[axis]
        places = torch.arange((size + CELL - 1) // CELL * CELL, device=image.device).clamp(max=size - 1)
        image = image.index_select(axis, places)
    return image


def _inside(size: int, border: int, like: Tensor) -> Tensor:
    index = torch.arange(size, device=like.device)
    return ((index >= border) & (index <= size - 1 - border)).to(like.dtype)


def _offsets(probability: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return the offsets [B, K, 2] of `models.decode.refine_peaks`."""
    batch, height, width = probability.shape
    steps = torch.arange(-2, 3, device=probability.device)
    rows, columns = row[..., None] + steps, column[..., None] + steps  # [B, K, S]
    keep_rows = ((rows >= 0) & (rows < height)).to(probability.dtype)
    keep_columns = ((columns >= 0) & (columns < width)).to(probability.dtype)
    keep_rows, keep_columns = keep_rows * keep_rows.flip(2), keep_columns * keep_columns.flip(2)
    places = rows.clamp(min=0).clamp(max=height - 1)[..., None] * width
    places = places + columns.clamp(min=0).clamp(max=width - 1)[..., None, :]  # [B, K, S, S]
    window = probability.flatten(1).gather(1, places.flatten(1)).view(batch, -1, len(steps), len(steps))
    window = window * keep_rows[..., None] * keep_columns[..., None, :]
    mass = window.sum(dim=(2, 3)).clamp(min=torch.finfo(window.dtype).tiny)
    dx, dy = (window.sum(2) * steps).sum(2) / mass, (window.sum(3) * steps).sum(2) / mass
    offset = torch.stack([dx, dy], dim=2)
    return offset / (offset * offset).sum(dim=2, keepdim=True).sqrt().clamp(min=1.0)


def _described(descriptors: Tensor, points: Tensor) -> Tensor:
    """`models.decode.interpolate_descriptors` with sizes that are not known yet."""
    rows, columns = descriptors.shape[2], descriptors.shape[3]
    x = (points[..., 0] + 0.5) / (CELL * columns) * 2 - 1
    y = (points[..., 1] + 0.5) / (CELL * rows) * 2 - 1
    grid = torch.stack([x, y], dim=2)[:, None]  # [B, 1, K, 2]
    values = F.grid_sample(descriptors, grid, padding_mode="border", align_corners=False)[:, :, 0]
    return F.normalize(values.transpose(1, 2), dim=2)
