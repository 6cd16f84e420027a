"""Match the correspondences of two views by their descriptors, and draw which matches are right."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superpoint.geometry.homography import resize_points
from superpoint.losses.descriptor import cell_centres, map_points
from superpoint.training.objectives import NEAR
from superpoint.visualize import contact_sheet, draw_matches, enlarge, to_rgb

SHOWN_WIDTH = 512  # pixels to which a smaller view is enlarged


@dataclass(frozen=True)
class NearestMatches:
    """The nearest descriptor of the other view for each correspondence, all [B, K].

    Attributes:
        asked: bool, which correspondences count.
        best: int64, index of the nearest descriptor.
        right: bool, whether it is the true one; False where not asked.
    """

    asked: Tensor
    best: Tensor
    right: Tensor

    @property
    def wrong(self) -> int:
        return int((self.asked & ~self.right).sum())


def match_correspondences(
    first: Tensor, second: Tensor, points_a: Tensor, points_b: Tensor, valid: Tensor
) -> tuple[NearestMatches, NearestMatches]:
    """Match descriptors [B, K, D] of correspondences [B, K, 2] from a to b and from b to a; `valid` is bool [B, K].

    A match is right within NEAR px of the true point, as in `objectives.descriptor_statistics`.
    """
    similarity = first.float() @ second.float().mT
    offered = valid[:, :, None] & valid[:, None, :]
    near_a, near_b = (torch.cdist(points, points) <= NEAR for points in (points_a.float(), points_b.float()))
    return _nearest(similarity, near_b, offered, valid), _nearest(similarity.mT, near_a, offered, valid)


def match_cells(
    map_a: Tensor, map_b: Tensor, h_a_b: Tensor, valid_a: Tensor, valid_b: Tensor, radius: float
) -> tuple[NearestMatches, NearestMatches]:
    """Match all cells of descriptor maps [B, D, Hc, Wc], which is what the dense hinge trains.

    Cells that count are valid and have a counterpart: a valid cell whose centre is within `radius` px, mean of both
    views. Sampled correspondences would be unfair to this loss, which says nothing between the centres of cells.
    """
    first, second = (each.float().flatten(2).mT for each in (map_a, map_b))
    centres = cell_centres(map_a)
    in_b, in_a = map_points(centres[None], h_a_b), map_points(centres[None], torch.linalg.inv(h_a_b.double()))
    distance = (torch.cdist(in_b, centres.expand_as(in_b)) + torch.cdist(centres.expand_as(in_a), in_a)) / 2
    offered = valid_a.flatten(1)[:, :, None] & valid_b.flatten(1)[:, None, :]
    same = (distance <= radius) & offered
    similarity = first @ second.mT
    return (
        _nearest(similarity, same, offered, same.any(dim=2)),
        _nearest(similarity.mT, same.mT, offered.mT, same.any(dim=1)),
    )


def _nearest(similarity: Tensor, same: Tensor, offered: Tensor, asked: Tensor) -> NearestMatches:
    best = similarity.masked_fill(~offered, -2.0).argmax(dim=2)
    return NearestMatches(asked, best, same.gather(2, best[:, :, None]).squeeze(2) & asked)


def draw_correspondences(batch: Mapping[str, Tensor], matches: NearestMatches, index: int) -> NDArray[np.uint8]:
    """Draw both views of pair `index` with a line from each correspondence to its match, uint8 RGB.

    Args:
        batch: pairs, see `WarpedPairs`.
        matches: of its correspondences, from view a to view b.
    """
    views = [batch[f"image_{name}"][index].permute(1, 2, 0).numpy() for name in ("a", "b")]
    scale = max(1, SHOWN_WIDTH // views[0].shape[1])
    points = [resize_points(batch[f"correspondences_{name}"][index].numpy(), scale, scale) for name in ("a", "b")]
    canvas = np.concatenate([enlarge(to_rgb(view), scale) for view in views], axis=1)
    points[1] = points[1] + np.array([views[0].shape[1] * scale, 0])
    asked, best, right = (each[index].cpu().numpy() for each in (matches.asked, matches.best, matches.right))
    draw_matches(canvas, points[0][asked], points[1][best[asked]], right[asked])
    found = int((asked & right).sum())
    title = f"{found} of {int(asked.sum())} correspondences match within {NEAR:g} px (green lines)"
    return contact_sheet([canvas], [title], columns=1)
