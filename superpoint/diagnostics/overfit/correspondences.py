"""Places of two views matched by their descriptors: which of the matches are right, and a picture of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superpoint.geometry.homography import resize_points
from superpoint.losses.descriptor import cell_centres, map_points
from superpoint.training.objectives import NEAR
from superpoint.visualize import GREEN, VERMILION, contact_sheet, enlarge, to_rgb


@dataclass(frozen=True)
class Matches:
    """Of each place of a view, bool or int64 [B, K]: whether it is asked about, the place of the other view whose
    descriptor is nearest, and whether that is right.
    """

    asked: Tensor
    best: Tensor
    right: Tensor

    @property
    def wrong(self) -> int:
        return int((self.asked & ~self.right).sum())

    def of_image(self, index: int) -> Matches:
        """Those of one image, as a batch of one."""
        chosen = slice(index, index + 1)
        return Matches(self.asked[chosen], self.best[chosen], self.right[chosen])


def match_places(
    first: Tensor, second: Tensor, points_a: Tensor, points_b: Tensor, valid: Tensor
) -> tuple[Matches, Matches]:
    """Descriptors [B, K, D] of places [B, K, 2] (row k the same place) matched from a to b and from b to a.

    An answer is right within NEAR px of the true place, as in `objectives.descriptor_statistics`.
    """
    similarity = first.float() @ second.float().transpose(1, 2)
    offered = valid[:, :, None] & valid[:, None, :]
    near_a, near_b = (torch.cdist(points, points) <= NEAR for points in (points_a.float(), points_b.float()))
    return _answers(similarity, near_b, offered, valid), _answers(similarity.mT, near_a, offered, valid)


def match_cells(
    map_a: Tensor, map_b: Tensor, h_a_b: Tensor, valid_a: Tensor, valid_b: Tensor, radius: float
) -> tuple[Matches, Matches]:
    """The same of all cells of descriptor maps [B, D, Hc, Wc], which is what the dense hinge trains.

    Between the centres of cells it says nothing, and descriptors interpolated there are those of several cells that it
    has made alike: a pair on which all cells find each other had .86 to .93 of its sampled places right, whatever the
    number of steps (500 were as good as 100); with a smaller radius fewer (.76 at 5.7 px, .55 at 4 px).

    Asked are cells with a counterpart: a valid cell whose centre is within `radius` px, mean of both views.
    """
    first, second = (each.float().flatten(2).transpose(1, 2) for each in (map_a, map_b))
    centres = cell_centres(map_a)
    in_b, in_a = map_points(centres[None], h_a_b), map_points(centres[None], torch.linalg.inv(h_a_b.double()))
    apart = (torch.cdist(in_b, centres.expand_as(in_b)) + torch.cdist(centres.expand_as(in_a), in_a)) / 2
    offered = valid_a.flatten(1)[:, :, None] & valid_b.flatten(1)[:, None, :]
    same = (apart <= radius) & offered
    similarity = first @ second.transpose(1, 2)
    return (
        _answers(similarity, same, offered, same.any(dim=2)),
        _answers(similarity.mT, same.mT, offered.mT, same.any(dim=1)),
    )


def _answers(similarity: Tensor, right: Tensor, offered: Tensor, asked: Tensor) -> Matches:
    """The largest similarity of each row [B, N, M] among what is offered."""
    best = similarity.masked_fill(~offered, -2.0).argmax(dim=2)
    return Matches(asked, best, right.gather(2, best[:, :, None]).squeeze(2) & asked)


def draw_places(
    views: Sequence[NDArray[np.uint8]], points: Sequence[NDArray[np.float32]], matches: Matches, scale: int = 1
) -> NDArray[np.uint8]:
    """Both views beside each other, uint8 RGB, with a line from each place of the first one to its match in the second.

    Args:
        views: two of uint8 [H, W].
        points: two of float32 [K, 2], (x, y), row k the same place.
        matches: of the first image of a batch, from the first view to the second.
        scale: by which the views are enlarged.
    """
    asked, best, right = (each[0].cpu().numpy() for each in (matches.asked, matches.best, matches.right))
    canvas = np.concatenate([enlarge(to_rgb(view), scale) for view in views], axis=1)
    shift = np.array([views[0].shape[1] * scale, 0])
    numbers = np.flatnonzero(asked)
    for k in sorted(numbers, key=lambda k: not right[k]):  # the wrong ones on top
        ends = (resize_points(xy[None], scale, scale)[0] for xy in (points[0][k], points[1][best[k]]))
        one, two = (np.rint(end + move).astype(int).tolist() for end, move in zip(ends, (0, shift), strict=True))
        cv2.line(canvas, one, two, GREEN if right[k] else VERMILION, 1 if right[k] else 2, cv2.LINE_AA)
        for end in (one, two):
            cv2.circle(canvas, end, 2, GREEN if right[k] else VERMILION, -1, cv2.LINE_AA)
    found = int((asked & right).sum())
    wrong = len(numbers) - found
    title = f"{found} of {len(numbers)} places find their counterpart within {NEAR:g} px (thin, green), {wrong} do not"
    return contact_sheet([canvas], [title], columns=1)
