"""Position loss: two views place the same point alike, to a fraction of a pixel."""

import torch
from torch import Tensor
from torch.nn import functional

from superpoint.geometry.peaks import refine_peaks
from superpoint.losses.descriptor import map_both

PEAK = 2  # pixels: a peak is the largest of the 5x5 values that `refine_peaks` averages over
REACH = 2.0  # pixels: peaks farther apart are different points
POINTS = 256  # strongest peaks per view
THRESHOLD = 0.005  # min probability of a peak
BORDER = 4  # pixels along the outline, where windows and convolutions see padding
NOWHERE = 1e6  # pixels: where rows that hold no point are put


def position_loss(
    probability_a: Tensor, probability_b: Tensor, h_a_b: Tensor, valid_a: Tensor, valid_b: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the mean distance in pixels of refined peaks of the two views that are each other's nearest.

    Distances are means of the two views. The refined places have a gradient; the peaks and the choice of partners have
    none. The detector loss keeps all points from moving alike. Source: reprojection loss of ALIKE, Zhao et al. 2022.

    Args:
        probability_a, probability_b: float32 [B, H, W], 0..1.
        h_a_b: [B, 3, 3], pixels of view a to pixels of view b.
        valid_a, valid_b: bool [B, H, W], pixels that hold photograph.

    Returns:
        The loss in pixels, 0 if no two peaks belong together, and the number of pairs that it is averaged over.
    """
    first, first_found = _places(probability_a, valid_a)
    second, second_found = _places(probability_b, valid_b)
    in_b, in_a = map_both(first, second, h_a_b)
    with torch.no_grad():
        # By differences: by a product of matrices, its default for many rows, coordinates of hundreds err by tenths.
        exact = "donot_use_mm_for_euclid_dist"
        apart = (torch.cdist(in_b, second, compute_mode=exact) + torch.cdist(first, in_a, compute_mode=exact)) / 2
        apart.masked_fill_(~(first_found[:, :, None] & second_found[:, None, :]), NOWHERE)
        nearest, partner = apart.min(dim=2)
        back = apart.argmin(dim=1).gather(1, partner)
        chosen = (nearest <= REACH) & (back == torch.arange(partner.shape[1], device=partner.device))
    index = partner[:, :, None].expand(-1, -1, 2)
    error_b = _length(in_b - second.gather(1, index))
    error_a = _length(first - in_a.gather(1, index))
    weight = chosen.sum().float()
    return torch.where(chosen, (error_a + error_b) / 2, 0.0).sum() / weight.clamp_min(1), weight


def _places(probability: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Refined places [B, K, 2] of the strongest peaks, strongest first, and which rows hold one, bool [B, K]."""
    with torch.no_grad():
        height, width = probability.shape[-2:]
        values = torch.where(valid, probability, 0.0)
        largest = functional.max_pool2d(values[:, None], 2 * PEAK + 1, stride=1, padding=PEAK)[:, 0]
        outside = functional.max_pool2d((~valid).to(values)[:, None], 2 * PEAK + 1, stride=1, padding=PEAK)[:, 0]
        peak = (values == largest) & (values > THRESHOLD) & (outside == 0)  # windows hold photograph alone
        strength = torch.where(peak, values, 0.0)
        inner = torch.zeros_like(strength)
        inner[:, BORDER : height - BORDER, BORDER : width - BORDER] = 1.0
        strength, place = (strength * inner).flatten(1).topk(min(POINTS, height * width), dim=1)
        image = torch.arange(len(place), device=place.device)[:, None].expand_as(place).flatten()
    y, x = place.flatten() // width, place.flatten() % width
    refined = refine_peaks(probability, image, y, x, PEAK)
    return refined.view(*place.shape, 2), strength > 0


def _length(difference: Tensor) -> Tensor:
    """Euclidean, with a gradient of 0 rather than NaN at 0."""
    return (difference.square().sum(dim=-1) + 1e-6).sqrt()
