"""The views of an image: sampled homographies, and the warp on the network's device."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from superpoint.config import AdaptationConfig
from superpoint.geometry.cells import CELL
from superpoint.geometry.homography import Matrix, frame_corners, resize_matrix, sample_homography, warp_points


@dataclass(frozen=True)
class View:
    """A warped look at an image."""

    h_image_view: Matrix
    size: tuple[int, int]  # (height, width), multiples of 8
    shrunk: tuple[int, int]  # size of the copy of the image it is drawn from
    borders: NDArray[np.float64]  # [K, 3], lines (a, b, c); a pixel counts where a * x + b * y + c >= 0 for all


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the random numbers of (seed, name), the same on every machine."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()
    return np.random.Generator(np.random.SFC64([seed, *np.frombuffer(digest, "<u4").tolist()]))


def sample_views(config: AdaptationConfig, height: int, width: int, name: str) -> list[View]:
    """Sample the views of an image [height, width]; the first is unwarped. Source: DeTone et al. 2018, section 5.2.

    View i has resolution scales[i % len(scales)]; each following round of these is turned by a right angle more, of
    `rotations` in all. The first k views are the same however many are taken.
    """
    rng = generator(config.seed, name)
    views = []
    for index in range(config.homographies):
        warp = np.eye(3)
        if index:
            warp = sample_homography(rng, height, width, config)
        scale = config.scales[index % len(config.scales)]
        turns = index // len(config.scales) % config.rotations * 4 // config.rotations
        views.append(_view(warp, height, width, scale, config.margin, turns))
    return views


def _view(warp: Matrix, height: int, width: int, scale: float, margin: float, turns: int = 0) -> View:
    frame = max(1, round(height * scale)), max(1, round(width * scale))
    h_image_view = resize_matrix(frame[1] / width, frame[0] / height) @ warp
    shrunk = min(frame[0], height), min(frame[1], width)
    for _ in range(turns):
        h_image_view = np.array([[0.0, 1, 0], [-1, 0, frame[1] - 1], [0, 0, 1]]) @ h_image_view
        frame = frame[1], frame[0]
    outline = warp_points(frame_corners(height, width), h_image_view)
    borders = np.concatenate([_borders(frame_corners(*frame)), _borders(outline)])
    borders[:, 2] -= margin
    size = frame[0] + -frame[0] % CELL, frame[1] + -frame[1] % CELL
    return View(h_image_view, size, shrunk, borders)


def _borders(corners: NDArray[np.floating]) -> NDArray[np.float64]:
    """Sides [4, 3] of a clockwise quadrilateral [4, 2] as lines (a, b, c): a * x + b * y + c = pixels inwards."""
    start = corners.astype(np.float64)
    along = np.roll(start, -1, axis=0) - start
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    return np.concatenate([normal, -(normal * start).sum(axis=1, keepdims=True)], axis=1)


def warp_views(source: Tensor, views: Sequence[View], height: int, width: int) -> Tensor:
    """Draw views of one size, float32 [B, C, H, W], bilinear; beyond its outline the image is mirrored.

    `source`: float32 [1, C, h, w], the image [height, width] or a smaller copy of it (`View.shrunk`).
    """
    rows, columns = views[0].size
    # From pixels of the view to grid_sample's -1..1, which (align_corners=False) are the image's outer edges.
    normalise = np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])
    matrices = np.stack([normalise @ np.linalg.inv(view.h_image_view) for view in views])
    matrices /= np.abs(matrices[:, 2:, :]).max(axis=2, keepdims=True)
    m = torch.from_numpy(matrices).to(source.device, torch.float32)[:, :, :, None, None]  # [B, 3, 3, 1, 1]
    x = torch.arange(columns, device=source.device, dtype=torch.float32)
    y = torch.arange(rows, device=source.device, dtype=torch.float32)[:, None]
    depth = m[:, 2, 0] * x + (m[:, 2, 1] * y + m[:, 2, 2])  # [B, H, W]
    # Pixels at or behind the horizon lie outside `borders`; their content does not matter.
    depth = depth.clamp_min(1e-6)
    grid = torch.stack([(m[:, axis, 0] * x + (m[:, axis, 1] * y + m[:, axis, 2])) / depth for axis in (0, 1)], dim=-1)
    source = source.expand(len(views), -1, -1, -1)
    return functional.grid_sample(source, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def chunks(views: Sequence[View], largest: int) -> Iterator[list[View]]:
    """Group views of one size and source, up to `largest` pixels or one view each."""
    groups: dict[tuple[tuple[int, int], tuple[int, int]], list[View]] = {}
    for view in views:
        groups.setdefault((view.size, view.shrunk), []).append(view)
    for (size, _), group in groups.items():
        step = max(1, largest // (size[0] * size[1]))
        for start in range(0, len(group), step):
            yield group[start : start + step]
