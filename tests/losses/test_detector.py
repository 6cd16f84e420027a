"""The detector loss against float64, by hand, and by its gradient."""

import math

import pytest
import torch

from superpoint.geometry.cells import DUSTBIN
from superpoint.losses import INITIAL_DETECTOR_LOSS, detector_loss


def make_batch(seed: int = 0, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 65, 3, 4, generator=generator) * scale
    target = torch.randint(0, 65, (2, 3, 4), generator=generator)
    target[:, 1] = DUSTBIN
    valid = torch.rand(2, 3, 4, generator=generator) < 0.7
    return logits, target, valid


def reference(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> float:
    """Cell by cell, in float64, from the definition."""
    total, count = 0.0, 0
    for b, row, column in valid.nonzero().tolist():
        cell = logits[b, :, row, column].double()
        total -= torch.log_softmax(cell, dim=0)[target[b, row, column]].item()
        count += 1
    return total / count


def test_initial_value_is_ln_65() -> None:
    _, target, valid = make_batch()
    loss, _ = detector_loss(torch.zeros(2, 65, 3, 4), target, valid, positive_weight=7.0)
    assert loss.item() == pytest.approx(math.log(65))
    assert pytest.approx(4.1744, abs=1e-4) == INITIAL_DETECTOR_LOSS


def test_equals_the_definition() -> None:
    batch = make_batch()
    assert detector_loss(*batch)[0].item() == pytest.approx(reference(*batch), rel=1e-6)


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_stable_where_exp_overflows(scale: float) -> None:
    logits, target, valid = make_batch(scale=scale)
    assert not torch.isfinite(logits.exp()).all()  # what a naive softmax would start with
    logits.requires_grad_()
    loss, _ = detector_loss(logits, target, valid)
    assert torch.isfinite(loss)
    assert loss.item() == pytest.approx(reference(logits.detach(), target, valid), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(gradient).all()


def test_half_precision_logits_are_computed_in_single_precision() -> None:
    logits, target, valid = make_batch(scale=20)
    loss, _ = detector_loss(logits.bfloat16(), target, valid)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reference(logits.bfloat16().float(), target, valid), rel=1e-6)


def test_invalid_cells_count_for_nothing() -> None:
    logits, target, valid = make_batch()
    changed = torch.where(valid[:, None], logits, torch.full_like(logits, 50.0))
    assert detector_loss(changed, target, valid)[0] == detector_loss(logits, target, valid)[0]
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(detector_loss(logits, target, valid)[0], logits)
    assert (gradient.permute(0, 2, 3, 1)[~valid] == 0).all()
    assert (gradient.permute(0, 2, 3, 1)[valid] != 0).any()
    loss, weight = detector_loss(logits, target, torch.zeros_like(valid))
    assert (loss.item(), weight.item()) == (0.0, 0.0)


def test_weights_are_those_of_a_weighted_mean() -> None:
    logits, target, _ = make_batch()
    valid = torch.ones_like(target, dtype=torch.bool)
    each = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    positive = target != DUSTBIN
    loss, weight = detector_loss(logits, target, valid, positive_weight=3.0)
    expected = (3 * each[positive].sum() + each[~positive].sum()) / (3 * positive.sum() + (~positive).sum())
    torch.testing.assert_close(loss, expected)
    assert weight.item() == pytest.approx((3 * positive.sum() + (~positive).sum()).item())


def test_parts_of_a_batch_combine_by_their_weights() -> None:
    logits, target, valid = make_batch()
    whole, total = detector_loss(logits, target, valid)
    parts = [detector_loss(logits[i : i + 1], target[i : i + 1], valid[i : i + 1]) for i in range(2)]
    combined = torch.stack([loss * weight for loss, weight in parts]).sum() / total
    torch.testing.assert_close(combined, whole)


def test_gradient_is_that_of_finite_differences() -> None:
    logits, target, valid = make_batch()
    logits = (logits * 0.3).requires_grad_()
    loss, _ = detector_loss(logits, target, valid, 2.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    step = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)) * 0.02
    with torch.no_grad():
        ahead, _ = detector_loss(logits + step, target, valid, 2.0)
        behind, _ = detector_loss(logits - step, target, valid, 2.0)
    assert (ahead - behind).item() == pytest.approx(2 * (gradient * step).sum().item(), rel=2e-2, abs=1e-5)
