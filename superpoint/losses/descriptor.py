"""Descriptor losses on two views of the same scenes, in fp32, independent of the order of the views.

Each returns the loss and the weight it was averaged over, so that parts of a batch can be combined.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from superpoint.geometry.cells import CELL

FAR = 1e9  # pixels: where a homography sends a point that it does not map


def dense_hinge_loss(
    descriptors_a: Tensor,
    descriptors_b: Tensor,
    h_a_b: Tensor,
    valid_a: Tensor,
    valid_b: Tensor,
    *,
    positive_margin: float = 1.0,
    negative_margin: float = 0.2,
    positive_weight: float = 250.0,
    radius: float = 8.0,
) -> tuple[Tensor, Tensor]:
    """Compute the paper's hinge over all pairs of cells of the two views (DeTone et al. 2018, equations 4 to 6).

    Cells correspond if the homography brings their centres within `radius` pixels, by the mean of the distances in a
    and in b (the paper measures in b only).

    Args:
        descriptors_a, descriptors_b: [B, D, Hc, Wc] of unit length, any floating type.
        h_a_b: [B, 3, 3], pixels of view a to pixels of view b.
        valid_a, valid_b: bool [B, Hc, Wc]; pairs with a cell that is not valid do not count.
        positive_margin, negative_margin: similarities above the one and below the other cost nothing.
        positive_weight: the paper's lambda_d, which makes up for the rarity of correspondences.
    """
    first, second = (_full(d).flatten(2).transpose(1, 2) for d in (descriptors_a, descriptors_b))  # [B, N, D]
    similarity = first @ second.transpose(1, 2)  # [B, N, M]
    with torch.no_grad():
        centres_a, centres_b = (cell_centres(d).expand(len(d), -1, -1) for d in (descriptors_a, descriptors_b))
        in_b, in_a = map_both(centres_a, centres_b, h_a_b)
        same = (torch.cdist(in_b, centres_b) + torch.cdist(centres_a, in_a)) / 2 <= radius
        counted = valid_a.flatten(1)[:, :, None] & valid_b.flatten(1)[:, None, :]
    cost = torch.where(
        same, positive_weight * (positive_margin - similarity).clamp_min(0), (similarity - negative_margin).clamp_min(0)
    )
    weight = counted.sum().float()
    return (cost * counted).sum() / weight.clamp_min(1), weight


def dual_softmax_loss(
    descriptors_a: Tensor,
    descriptors_b: Tensor,
    points_a: Tensor,
    points_b: Tensor,
    valid: Tensor,
    *,
    temperature: float = 0.05,
    exclusion: float = 8.0,
) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy of finding each point's counterpart among all of the other view, in both directions.

    Source: InfoNCE (Oord et al. 2018) on both sides of the dual softmax of Rocco et al. 2018 and LoFTR.

    Args:
        descriptors_a, descriptors_b: [B, K, D] of unit length; row k of both describes the same point.
        points_a, points_b: [B, K, 2] (x, y) in pixels.
        valid: bool [B, K]; other rows are neither asked for nor offered.
        temperature: similarities are divided by it.
        exclusion: pixels; a point nearer than this to the right one in either view is no wrong answer, as descriptors
            are interpolated between cells of 8 px.
    """
    similarity = _full(descriptors_a) @ _full(descriptors_b).transpose(1, 2)
    with torch.no_grad():
        allowed = (torch.cdist(points_a, points_a) > exclusion) & (torch.cdist(points_b, points_b) > exclusion)
        allowed &= valid[:, :, None] & valid[:, None, :]
        # Rows and columns of points that are not valid keep the diagonal, so that their softmax is finite.
        allowed |= torch.eye(allowed.shape[1], dtype=torch.bool, device=allowed.device)
    similarity = (similarity / temperature).masked_fill(~allowed, float("-inf"))
    right = similarity.diagonal(dim1=1, dim2=2)
    rows, columns = similarity.logsumexp(dim=2) - right, similarity.logsumexp(dim=1) - right
    weight = valid.sum().float()
    return torch.where(valid, rows + columns, 0.0).sum() / (2 * weight).clamp_min(1), weight


def _full(descriptors: Tensor) -> Tensor:
    return descriptors if descriptors.dtype == torch.float64 else descriptors.float()


def cell_centres(descriptors: Tensor) -> Tensor:
    """Return the pixel centres (x, y) of the cells of a map [.., Hc, Wc], in raster order: float32 [Hc * Wc, 2]."""
    rows, columns = (torch.arange(side, device=descriptors.device) for side in descriptors.shape[-2:])
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    return places.reshape(-1, 2) * CELL + (CELL - 1) / 2


def map_both(points_a: Tensor, points_b: Tensor, h_a_b: Tensor) -> tuple[Tensor, Tensor]:
    """Map the points of view a to view b, and those of view b to view a; see `map_points`."""
    return map_points(points_a, h_a_b), map_points(points_b, torch.linalg.inv(h_a_b.double()))


def map_points(points: Tensor, h_a_b: Tensor) -> Tensor:
    """Map points [B or 1, N, 2] (x, y) by matrices [B, 3, 3]: float32 [B, N, 2]; at or behind the horizon, far away."""
    matrix = h_a_b.double()
    homogeneous = F.pad(points.double(), (0, 1), value=1.0) @ matrix.transpose(1, 2)
    depth = homogeneous[..., 2:]
    return torch.where(depth > 1e-9, homogeneous[..., :2] / depth.clamp_min(1e-9), FAR).float()
