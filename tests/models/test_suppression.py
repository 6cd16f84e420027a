"""Suppression in rounds against the sequential rule: ties, plateaus, few and many candidates, the strongest only."""

from collections import Counter

import numpy as np
import pytest
import torch

from superpoint.models import suppression
from superpoint.models.decode import probability_to_keypoints
from superpoint.models.suppression import (
    limit_per_cell,
    suppress_non_maxima,
    suppress_strip,
)
from tests.models.sequential import naive_suppression


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=["rounds", "dilation and sequence", "sequence"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "rounds":
        monkeypatch.setattr(suppression, "_has_cpu_way", lambda *_: False)
    monkeypatch.setattr(suppression, "PIXELS", 0 if request.param == "sequence" else 1 << 30)
    return request.param


@pytest.mark.usefixtures("way")
class TestSuppression:
    @pytest.mark.parametrize("radius", [1, 2, 3, 4, 8, 40])
    @pytest.mark.parametrize("levels", [0, 8])  # 8 grey levels: full of ties
    def test_equals_the_naive_rule(self, radius: int, levels: int) -> None:
        probability = torch.rand(3, 33, 46, generator=generator(radius))
        if levels:
            probability = (probability * levels).floor() / levels
        probability[2, 5:20, 7:30] = 0.5  # and a plateau
        kept = suppress_non_maxima(probability, radius, 0.1)
        for image, mask in zip(probability, kept, strict=True):
            assert torch.equal(mask, naive_suppression(image, radius, 0.1))

    @pytest.mark.parametrize("border", [0, 4, 40])
    @pytest.mark.parametrize("levels", [0, 6])
    def test_the_strongest_are_those_of_the_naive_rule(self, levels: int, border: int) -> None:
        probability = torch.rand(2, 64, 72, generator=generator(5)) ** 4
        probability[1] *= 0.1  # few points in one image, many in the other
        if levels:
            probability = (probability * levels).floor() / levels
        for most in (1, 12, 40, 1000):
            found = probability_to_keypoints(
                probability, nms_radius=3, threshold=0.02, border=border, max_keypoints=most, subpixel=False
            )
            for image, points in zip(probability, found, strict=True):
                mask = naive_suppression(image, 3, 0.02)
                mask[:border], mask[64 - border :], mask[:, :border], mask[:, 72 - border :] = (False,) * 4
                y, x = mask.nonzero(as_tuple=True)
                order = image[y, x].sort(descending=True, stable=True).indices[:most]
                assert points.points.tolist() == torch.stack([x[order], y[order]], 1).float().tolist()

    @pytest.mark.parametrize("radius", range(7))
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_every_type_with_plateaus_and_nan(self, radius: int, dtype: torch.dtype) -> None:
        probability = torch.rand(3, 19, 26, generator=generator(radius)).to(dtype)
        probability[0] = (probability[0] * 5).round() / 5
        probability[1, 3:15, 5:20] = 0.7
        probability[1, 9] = torch.nan
        probability[2, :, 4] = torch.inf
        probability[2, 2, 2] = 0.3  # what a threshold of 0.3 is in a short type differs from 0.3
        for threshold in (0.0, 0.3):
            kept = suppress_non_maxima(probability.clone().requires_grad_(), radius, threshold)
            assert kept.dtype == torch.bool
            assert not kept.requires_grad
            for image, mask in zip(probability, kept, strict=True):
                assert torch.equal(mask, naive_suppression(image, radius, threshold))

    @pytest.mark.parametrize("shape", [(0, 8, 8), (1, 1, 1), (2, 1, 17), (1, 9, 1)])
    def test_odd_shapes(self, shape: tuple[int, int, int]) -> None:
        probability = torch.rand(shape, generator=generator())
        kept = suppress_non_maxima(probability, 2, max_keypoints=3, border=20)
        assert kept.shape == shape
        for image, mask in zip(probability, kept, strict=True):
            assert torch.equal(mask, naive_suppression(image, 2, 0.0))

    def test_other_memory_formats_and_the_input_is_left_alone(self) -> None:
        probability = torch.rand(24, 30, 2, generator=generator()).permute(2, 0, 1)
        before = probability.contiguous()
        one, other = (suppress_non_maxima(each, 3, 0.2, max_keypoints=2) for each in (probability, before))
        assert torch.equal(one, other)
        assert torch.equal(probability, before)

    def test_a_weak_peak_beyond_a_suppressed_one_survives(self) -> None:
        probability = torch.zeros(1, 8, 24)
        probability[0, 4, 4], probability[0, 4, 7], probability[0, 4, 10] = 0.9, 0.6, 0.3  # 3 px apart, radius 4
        assert suppress_non_maxima(probability, 4)[0].nonzero().tolist() == [[4, 4], [4, 10]]

    @pytest.mark.parametrize("levels", [0, 4])
    @pytest.mark.parametrize("radius", [0, 1, 3, 9])
    def test_rows_whose_continuation_is_unknown(self, radius: int, levels: int) -> None:
        """What is decided holds whatever follows; what is undecided depends on what follows."""
        probability = torch.rand(1, 40, 31, generator=generator(radius)) ** 4
        if levels:
            probability = (probability * levels).ceil() / levels
        known, undecided = suppress_strip(probability[:, :26], radius, 0.02, 0, 0, last=False)
        assert not (known & undecided).any()
        for seed in range(5):
            probability[:, 26:] = torch.rand(1, 14, 31, generator=generator(seed)) ** seed
            whole = naive_suppression(probability[0], radius, 0.02)[:26]
            assert torch.equal(whole & ~undecided[0], known[0])
        assert bool(undecided.any()) == (radius > 0)

    def test_radius_zero_is_the_threshold_alone(self) -> None:
        probability = torch.rand(2, 9, 9, generator=generator())
        assert torch.equal(suppress_non_maxima(probability, 0, 0.4), probability > 0.4)

    def test_equal_to_the_threshold_is_not_enough(self) -> None:
        probability = torch.zeros(1, 5, 5)
        probability[0, 2, 2] = 0.25
        assert not suppress_non_maxima(probability, 1, 0.25).any()
        assert not suppress_non_maxima(0 * probability, 1).any()
        assert suppress_non_maxima(probability, 1, 0.2499).sum() == 1


class TestLimitPerCell:
    """By definition, one point after the other, best first."""

    def points(self, seed: int, count: int = 400, size: tuple[int, int] = (97, 61)) -> np.ndarray:
        points = np.random.default_rng(seed).random((count, 2)) ** 2 * np.array(size) - 0.5
        return points.astype(np.float32)

    @pytest.mark.parametrize("grid", [(8, 8), (3, 7), (1, 1), (97, 61)])
    def test_the_first_of_each_cell(self, grid: tuple[int, int]) -> None:
        points, counts, expected = self.points(0), Counter[tuple[int, int]](), []
        for index, (x, y) in enumerate(points.tolist()):
            cell = int((x + 0.5) * grid[0] / 97), int((y + 0.5) * grid[1] / 61)
            counts[cell] += 1
            if counts[cell] <= 3:
                expected.append(index)
        assert limit_per_cell(points, (97, 61), grid, 3).tolist() == expected
        assert limit_per_cell(points[:0], (97, 61), grid, 3).tolist() == []

    def test_points_beyond_the_outline_count_for_the_outermost_cells(self) -> None:
        assert limit_per_cell(np.array([[-1, -1], [0, 0], [64, 48], [63, 47]]), (64, 48), (2, 2), 1).tolist() == [0, 2]


class TestChoice:
    @pytest.mark.parametrize("shape", ["plateau", "ramp", "diagonal"])
    def test_what_rounds_would_take_the_edges_of_goes_in_sequence(
        self, shape: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        probability = {
            "plateau": torch.full((60, 80), 0.5),
            "ramp": torch.linspace(0.1, 0.9, 80).expand(60, 80).contiguous(),
            "diagonal": torch.linspace(0.1, 0.9, 60)[:, None] * torch.linspace(0.1, 0.9, 80),
        }[shape]
        rounds, peaks = [], suppression._certain_peaks
        monkeypatch.setattr(suppression, "_certain_peaks", lambda *given: rounds.append(1) or peaks(*given))
        kept = suppress_non_maxima(probability[None], 2, 0.05)
        assert torch.equal(kept[0], naive_suppression(probability, 2, 0.05))
        assert len(rounds) < 4

    def test_float64_is_not_rounded(self) -> None:
        probability = torch.full((1, 5, 5), 0.5, dtype=torch.float64)
        probability[0, 3, 3] += 1e-12
        assert suppress_non_maxima(probability, 5)[0].nonzero().tolist() == [[3, 3]]
