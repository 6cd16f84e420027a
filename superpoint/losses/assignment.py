"""The losses of LightGlue (Lindenberger et al. 2023, section 3.4)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

UNMATCHABLE, IGNORED = -1, -2  # in the place of the index of a match


def assignment_loss(assignments: Sequence[Tensor], matches0: Tensor, matches1: Tensor) -> Tensor:
    """Compute the negative log-likelihood of the true assignment, as a mean over layers and pairs (equation 11).

    Args:
        assignments: per layer, log-probabilities [B, M + 1, N + 1]; in the last column (row) those of being
            unmatchable of the keypoints of image 0 (1).
        matches0: int64 [B, M], each keypoint's match in image 1, UNMATCHABLE or IGNORED.
        matches1: int64 [B, N], likewise. The matches are those of `matches0`.

    Returns: a float32 scalar. A pair's matches, and its unmatchable keypoints of either image, count as means; the
        latter half each.
    """
    losses = []
    for each in assignments:
        log = each.float()
        chosen = log[:, :-1, :-1].gather(2, matches0.clamp_min(0)[:, :, None]).squeeze(2)
        nothing = [_mean(log[:, :-1, -1], matches0 == UNMATCHABLE), _mean(log[:, -1, :-1], matches1 == UNMATCHABLE)]
        losses.append(-(_mean(chosen, matches0 >= 0) + (nothing[0] + nothing[1]) / 2).mean())
    return torch.stack(losses).mean()


def confidence_loss(
    confidences: Sequence[Tensor], assignments: Sequence[Tensor], filled0: Tensor, filled1: Tensor
) -> Tensor:
    """Compute the cross-entropy of each layer's confidence that it assigns what the last layer does (section 3.3).

    Args:
        confidences: per layer but the last, logits [B, M + N]; no gradient reaches the states behind them.
        assignments: per layer, as of `assignment_loss`.
        filled0, filled1: bool [B, M] and [B, N], which slots hold a keypoint.

    Returns: a float32 scalar; 0 with a single layer.
    """
    chosen = [_chosen(each.detach()) for each in assignments]
    filled = torch.cat([filled0, filled1], 1)
    losses = [
        functional.binary_cross_entropy_with_logits(logits.float()[filled], (found == chosen[-1])[filled].float())
        for logits, found in zip(confidences, chosen[:-1], strict=True)
    ]
    return torch.stack(losses).mean() if losses else assignments[-1].new_zeros(())


def _chosen(log: Tensor) -> Tensor:
    """What each keypoint is assigned to, int64 [B, M + N]; the last index is nothing."""
    return torch.cat([log[:, :-1].argmax(2), log[:, :, :-1].argmax(1)], 1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over a pair's masked values [B, N], 0 without any."""
    return (values * mask).sum(1) / mask.sum(1).clamp_min(1)
