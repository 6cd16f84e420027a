"""The detector loss: pure, in fp32."""

import math

import torch

from superpoint.geometry.cells import CHANNELS, DUSTBIN

INITIAL_DETECTOR_LOSS = math.log(CHANNELS)  # 4.174: every class equally likely


def detector_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    positive_weight: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the 65-way softmax cross-entropy in fp32, averaged over the valid cells of the batch.

    Args:
        logits: [B, 65, Hc, Wc], any floating type, finite up to +-1e4 at least.
        target: [B, Hc, Wc] int64 in 0..64, 64 = dustbin.
        valid: [B, Hc, Wc] bool; other cells do not count.
        positive_weight: weight in the mean of cells with a point, beside 1 of those without.

    Returns:
        The loss, and the sum of weights it was averaged over (so that means over parts of a batch can be combined).

    By logsumexp, which subtracts the maximum first: exp() alone overflows above 88. Source: DeTone et al. 2018,
    equations 2 and 3.
    """
    logits = logits.float()
    chosen = logits.gather(1, target.unsqueeze(1)).squeeze(1)
    loss = torch.logsumexp(logits, dim=1) - chosen  # [B, Hc, Wc], -log p
    weight = torch.where(target == DUSTBIN, 1.0, positive_weight) * valid
    total = weight.sum()
    return (loss * weight).sum() / total.clamp_min(1e-12), total
