"""Descriptor losses against naive loops, by gradient check, and with the views exchanged."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from superpoint.geometry.homography import inverse, sample_homography, warp_points
from superpoint.geometry.ranges import HomographyRanges
from superpoint.losses import dense_hinge_loss, dual_softmax_loss

ROWS, COLUMNS = 3, 4


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def homographies(count: int) -> Tensor:
    rng = np.random.default_rng(5)
    ranges = HomographyRanges(rotation=20, translation=0.2)
    drawn = [sample_homography(rng, 8 * ROWS, 8 * COLUMNS, ranges) for _ in range(count)]
    return torch.tensor(np.stack(drawn), dtype=torch.float32)


def dense_case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    first, second = (F.normalize(random(2, 6, ROWS, COLUMNS, seed=seed + k), dim=1) for k in range(2))
    valid_a, valid_b = (random(2, ROWS, COLUMNS, seed=seed + 10 + k) > -1 for k in range(2))
    return first, second, homographies(2), valid_a, valid_b


def naive_dense_hinge(first: Tensor, second: Tensor, h_a_b: Tensor, valid_a: Tensor, valid_b: Tensor) -> float:
    total, count = 0.0, 0
    for b in range(len(first)):
        matrix = h_a_b[b].double().numpy()
        for cell_a in np.ndindex(ROWS, COLUMNS):
            for cell_b in np.ndindex(ROWS, COLUMNS):
                if not valid_a[b][cell_a] or not valid_b[b][cell_b]:
                    continue
                centre_a, centre_b = (np.array([[8 * cell[1] + 3.5, 8 * cell[0] + 3.5]]) for cell in (cell_a, cell_b))
                in_b = np.linalg.norm(warp_points(centre_a, matrix) - centre_b)
                in_a = np.linalg.norm(warp_points(centre_b, inverse(matrix)) - centre_a)
                cosine = float(first[(b, slice(None), *cell_a)] @ second[(b, slice(None), *cell_b)])
                if (in_a + in_b) / 2 <= 8:
                    total += 250 * max(0.0, 1 - cosine)
                else:
                    total += max(0.0, cosine - 0.2)
                count += 1
    return total / count


def test_dense_hinge_equals_the_naive_loops() -> None:
    case = dense_case()
    loss, weight = dense_hinge_loss(*case)
    assert float(loss) == pytest.approx(naive_dense_hinge(*case), rel=1e-4)
    assert float(loss) > 1  # some cells do correspond
    assert weight == sum(a.sum() * b.sum() for a, b in zip(case[3], case[4], strict=True))


def test_dense_hinge_with_the_identity_by_hand() -> None:
    one = torch.zeros(1, 2, 1, 3)
    one[0, 0] = 1  # three cells of 8 px in a row, all described alike
    everywhere = torch.ones(1, 1, 3, dtype=torch.bool)
    loss, _ = dense_hinge_loss(one, one, torch.eye(3)[None], everywhere, everywhere)
    # Neighbours lie at exactly 8 px and count as the same; the two pairs at 16 px cost 1 - 0.2 each, of nine.
    assert float(loss) == pytest.approx(2 * 0.8 / 9)


def test_dense_hinge_does_not_depend_on_the_order_of_views() -> None:
    first, second, h_a_b, valid_a, valid_b = dense_case()
    there, _ = dense_hinge_loss(first, second, h_a_b, valid_a, valid_b)
    back, _ = dense_hinge_loss(second, first, torch.linalg.inv(h_a_b), valid_b, valid_a)
    assert float(there) == pytest.approx(float(back), rel=1e-5)


def sampled_case(seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    first, second = (F.normalize(random(2, 7, 5, seed=seed + k, dtype=dtype), dim=2) for k in range(2))
    points_a, points_b = (20 * random(2, 7, 2, seed=seed + 20 + k) for k in range(2))
    valid = torch.tensor([[True] * 7, [True, True, False, True, True, False, True]])
    return first, second, points_a, points_b, valid


def naive_sampled(case: tuple[Tensor, ...]) -> float:
    first, second, points_a, points_b, valid = (
        tensor.double() if tensor.is_floating_point() else tensor for tensor in case
    )
    costs: list[float] = []
    for b in range(len(first)):
        similarity = first[b] @ second[b].T
        for i in range(len(similarity)):
            if not valid[b, i]:
                continue
            others = [
                j
                for j in range(len(similarity))
                if j != i
                and valid[b, j]
                and float((points_a[b, i] - points_a[b, j]).norm()) > 8
                and float((points_b[b, i] - points_b[b, j]).norm()) > 8
            ]
            for row in (similarity[i], similarity[:, i]):
                total = sum(math.exp(float(row[j]) / 0.05) for j in [i, *others])
                costs.append(math.log(total) - float(row[i]) / 0.05)
    return sum(costs) / len(costs)


def test_dual_softmax_equals_the_naive_loops() -> None:
    case = sampled_case()
    loss, weight = dual_softmax_loss(*case)
    assert float(loss) == pytest.approx(naive_sampled(case), rel=1e-4)
    assert weight == 12


def test_dual_softmax_does_not_depend_on_the_order_of_views() -> None:
    first, second, points_a, points_b, valid = sampled_case()
    there, _ = dual_softmax_loss(first, second, points_a, points_b, valid)
    back, _ = dual_softmax_loss(second, first, points_b, points_a, valid)
    assert float(there) == pytest.approx(float(back), rel=1e-5)


def test_rows_that_are_not_valid_have_no_influence() -> None:
    first, second, points_a, points_b, valid = sampled_case()
    before, _ = dual_softmax_loss(first, second, points_a, points_b, valid)
    first = torch.where(valid[..., None], first, 7.0).requires_grad_()
    after, _ = dual_softmax_loss(first, second, points_a, points_b, valid)
    assert float(before) == pytest.approx(float(after.detach()), rel=1e-5)
    after.backward()
    assert first.grad is not None
    assert (first.grad[~valid] == 0).all()
    assert first.grad.isfinite().all()
    none, weight = dual_softmax_loss(first, second, points_a, points_b, torch.zeros_like(valid))
    assert (float(none.detach()), float(weight)) == (0, 0)


def test_gradients() -> None:
    first, second, *rest = sampled_case(dtype=torch.float64)
    inputs = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: dual_softmax_loss(a, b, *rest, exclusion=2)[0], inputs)
    first, second, *rest = dense_case()
    inputs = (first.double().requires_grad_(), second.double().requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: dense_hinge_loss(a, b, *rest)[0], inputs)


def test_right_descriptors_cost_less_than_wrong_ones() -> None:
    first, _, points_a, _, valid = sampled_case()
    right, _ = dual_softmax_loss(first, first, points_a, points_a, valid)
    wrong, _ = dual_softmax_loss(first, first.roll(1, dims=1), points_a, points_a, valid)
    alike = torch.ones_like(first) / math.sqrt(5)  # collapsed
    same, _ = dual_softmax_loss(alike, alike, points_a, points_a, valid)
    assert float(right) < min(float(wrong), float(same))


def test_half_precision_is_computed_in_fp32() -> None:
    first, second, points_a, points_b, valid = sampled_case()
    value, _ = dual_softmax_loss(first.bfloat16(), second.bfloat16(), points_a, points_b, valid)
    exact, _ = dual_softmax_loss(first.bfloat16().float(), second.bfloat16().float(), points_a, points_b, valid)
    assert value.dtype == torch.float32
    assert float(value) == float(exact)
