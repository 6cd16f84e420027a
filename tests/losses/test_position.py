"""Position loss: by hand on peaks drawn at known places, by gradient, and with the views exchanged."""

import numpy as np
import pytest
import torch
from torch import Tensor

from superpoint.geometry.homography import inverse, sample_homography, warp_points
from superpoint.geometry.ranges import HomographyRanges
from superpoint.losses import position, position_loss

HEIGHT, WIDTH = 48, 64
EVERYWHERE = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)


def peaks(places: list[tuple[float, float]], heights: list[float] | None = None, sigma: float = 0.7) -> Tensor:
    """Probability [1, H, W] with a Gaussian at each place (x, y)."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    total = torch.zeros(HEIGHT, WIDTH)
    for (px, py), height in zip(places, heights or [0.5] * len(places), strict=True):
        total += height * torch.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
    return total[None]


def loss(
    first: Tensor, second: Tensor, h_a_b: object = np.eye(3), valid_a: Tensor = EVERYWHERE, valid_b: Tensor = EVERYWHERE
) -> tuple[float, float]:
    matrix = torch.tensor(h_a_b, dtype=torch.float32)[None]
    value, count = position_loss(first, second, matrix, valid_a, valid_b)
    return float(value), float(count)


PLACES = [(10.0, 12.0), (30.3, 20.6), (50.0, 35.4)]


def test_the_same_places_cost_nothing() -> None:
    value, count = loss(peaks(PLACES), peaks(PLACES))
    assert value < 2e-3
    assert count == 3


@pytest.mark.parametrize("shift", [(0.4, 0.0), (0.0, -0.3), (1.0, 1.0)])
def test_a_shift_costs_its_length(shift: tuple[float, float]) -> None:
    moved = [(x + shift[0], y + shift[1]) for x, y in PLACES]
    value, count = loss(peaks(PLACES), peaks(moved))
    assert value == pytest.approx(float(np.hypot(*shift)), abs=0.04)
    assert count == 3


def test_a_shift_of_a_known_warp_is_no_error() -> None:
    matrix = np.array([[1.0, 0.0, 5.25], [0.0, 1.0, -3.5], [0.0, 0.0, 1.0]])
    moved = [(x + 5.25, y - 3.5) for x, y in PLACES]
    value, count = loss(peaks(PLACES), peaks(moved), matrix)
    assert value < 0.05
    assert count == 3
    swapped, few = loss(peaks(PLACES), peaks(moved), inverse(matrix))  # the matrix taken the wrong way round
    assert few == 0
    assert swapped == 0


def test_only_points_within_reach_that_are_each_others_nearest_count() -> None:
    near, far = (10.0, 14.0), (30.3, 24.7)  # 2 px from the first point, 4.1 px from the second
    value, count = loss(peaks(PLACES[:2]), peaks([near, far]))
    assert count == 1
    assert value == pytest.approx(2.0, abs=0.05)
    # Two peaks of b near one of a: the nearer is its partner, the other has none.
    _, count = loss(peaks([(20.0, 20.0)]), peaks([(18.5, 20.0), (21.8, 20.0)]))
    assert count == 1


def test_weak_peaks_masks_and_the_outline_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = peaks(PLACES, [0.5, 0.5, 0.001])
    assert loss(weak, weak)[1] == 2
    with monkeypatch.context() as only:
        only.setattr(position, "POINTS", 1)
        assert loss(peaks(PLACES), peaks(PLACES))[1] == 1
    mask = torch.arange(WIDTH).expand(1, HEIGHT, WIDTH) < 40
    assert loss(weak, peaks(PLACES), valid_a=mask)[1] == 2
    beside = torch.arange(WIDTH).expand(1, HEIGHT, WIDTH) < 52  # the window of the peak at x = 50 would reach 52
    assert loss(peaks(PLACES), peaks(PLACES), valid_a=beside, valid_b=beside)[1] == 2
    edge = peaks([(2.0, 20.0), (30.0, 20.0)])
    assert loss(edge, edge)[1] == 1


def test_nothing_found_costs_nothing_and_has_a_gradient() -> None:
    empty = torch.zeros(1, HEIGHT, WIDTH, requires_grad=True)
    value, count = position_loss(empty, empty, torch.eye(3)[None], EVERYWHERE, EVERYWHERE)
    value.backward()
    assert (float(value.detach()), float(count)) == (0.0, 0.0)
    assert empty.grad is not None
    assert torch.isfinite(empty.grad).all()


def test_it_does_not_depend_on_the_order_of_views() -> None:
    rng = np.random.default_rng(3)
    matrix = sample_homography(rng, HEIGHT, WIDTH, HomographyRanges(rotation=15, scale=[0.9, 1.2], perspective=0.05))
    moved = warp_points(np.array(PLACES), matrix) + rng.normal(0, 0.3, (3, 2))
    first, second = peaks(PLACES), peaks([tuple(place) for place in moved])
    there, count = loss(first, second, matrix)
    back, again = loss(second, first, inverse(matrix))
    assert count == again > 0
    assert there == pytest.approx(back, rel=1e-3)


def test_the_gradient_is_that_of_finite_differences_and_descent_brings_the_places_together() -> None:
    first, second = peaks(PLACES[:2]), peaks([(10.4, 12.2), (30.0, 20.4)])

    def of(values: Tensor) -> Tensor:
        return position_loss(values, second, torch.eye(3)[None], EVERYWHERE, EVERYWHERE)[0]

    values = first.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(of(values), values)
    direction = torch.zeros_like(first)
    direction[0, 12, 11], direction[0, 21, 30] = 1.0, -0.5
    step = 5e-3
    difference = (of(first + step * direction) - of(first - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=1e-2)
    assert abs(float(difference)) > 0.1
    before = float(of(values).detach())
    for _ in range(100):
        (gradient,) = torch.autograd.grad(of(values), values)
        values = (values - 0.02 * gradient).clamp_min(0).detach().requires_grad_(True)
    assert float(of(values).detach()) < before / 4
