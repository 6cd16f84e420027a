"""The losses of LightGlue against hand computations."""

import math

import pytest
import torch
from torch import Tensor

from superpoint.losses.assignment import IGNORED, UNMATCHABLE, assignment_loss, confidence_loss


def log(rows: list[list[float]]) -> Tensor:
    return torch.tensor([rows], dtype=torch.float64).log()


TRUE0, TRUE1 = torch.tensor([[1, UNMATCHABLE, IGNORED]]), torch.tensor([[UNMATCHABLE, 0]])
FIRST = log([[0.1, 0.5, 0.3], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6], [0.4, 0.2, 1.0]])


def test_negative_log_likelihood_by_hand() -> None:
    """Equation 11: matches count as a mean, unmatchable keypoints of either image half each."""
    expected = -(math.log(0.5) + math.log(0.8) / 2 + math.log(0.4) / 2)
    assert float(assignment_loss([FIRST], TRUE0, TRUE1)) == pytest.approx(expected, rel=1e-6)


def test_layers_and_pairs_count_alike() -> None:
    second = log([[0.2, 0.9, 0.1], [0.1, 0.1, 0.9], [0.2, 0.2, 0.6], [0.8, 0.2, 1.0]])
    one, other = (assignment_loss([each], TRUE0, TRUE1) for each in (FIRST, second))
    torch.testing.assert_close(assignment_loss([FIRST, second], TRUE0, TRUE1), (one + other) / 2)
    both = assignment_loss([torch.cat([FIRST, second])], TRUE0.repeat(2, 1), TRUE1.repeat(2, 1))
    torch.testing.assert_close(both, (one + other) / 2)


def test_what_is_ignored_has_no_gradient() -> None:
    scores = FIRST.clone().requires_grad_()
    assignment_loss([scores], TRUE0, TRUE1).backward()
    assert scores.grad is not None
    assert scores.grad[0, 2].abs().sum() == 0
    assert scores.grad[0, 0, 1] == -1
    nothing = torch.full((1, 3), IGNORED), torch.full((1, 2), IGNORED)
    assert float(assignment_loss([FIRST], *nothing)) == 0


def test_confidence_is_whether_the_last_layer_agrees() -> None:
    last = log([[0.7, 0.1, 0.3], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6], [0.4, 0.7, 1.0]])
    # Row 0 changes its mind, and so do both columns; row 2 holds no keypoint.
    logits = torch.tensor([[2.0, -1.0, 50.0, 0.5, 0.25]])
    agrees = [0.0, 1.0, 0.0, 0.0]
    expected = [math.log1p(math.exp(-x if y else x)) for x, y in zip([2.0, -1.0, 0.5, 0.25], agrees, strict=True)]
    filled = torch.tensor([[True, True, False]]), torch.tensor([[True, True]])
    assert float(confidence_loss([logits], [FIRST, last], *filled)) == pytest.approx(sum(expected) / 4)
    assert float(confidence_loss([], [last], *filled)) == 0
