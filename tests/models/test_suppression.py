"""Suppression in rounds against the sequential rule: ties, plateaus, few and many candidates, the strongest only."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from superpoint.models import suppression
from superpoint.models.decode import probability_to_points
from superpoint.models.suppression import suppress_non_maxima
from tests.models.sequential import naive_suppression


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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

    @pytest.mark.parametrize("radius", [1, 4, 9])
    def test_sparse_maps_equal_the_naive_rule(self, radius: int) -> None:
        # Few candidates, so that the windows of these alone are looked at from the second round on.
        peaks = torch.rand(2, 60, 83, generator=generator(radius)) ** 9
        probability = nn.functional.avg_pool2d(peaks[:, None], 3, stride=1, padding=1)[:, 0]
        for threshold in (0.05, 0.2):
            kept = suppress_non_maxima(probability, radius, threshold)
            for image, mask in zip(probability, kept, strict=True):
                assert torch.equal(mask, naive_suppression(image, radius, threshold))

    @pytest.mark.parametrize("border", [0, 4, 40])
    @pytest.mark.parametrize("levels", [0, 6])
    def test_the_strongest_are_those_of_the_naive_rule(self, levels: int, border: int) -> None:
        probability = torch.rand(2, 64, 72, generator=generator(5)) ** 4
        probability[1] *= 0.1  # few points in one image, many in the other
        if levels:
            probability = (probability * levels).floor() / levels
        for most in (1, 12, 40, 1000):
            found = probability_to_points(
                probability, nms_radius=3, threshold=0.02, border=border, max_points=most, subpixel=False
            )
            for image, points in zip(probability, found, strict=True):
                mask = naive_suppression(image, 3, 0.02)
                mask[:border], mask[64 - border :], mask[:, :border], mask[:, 72 - border :] = (False,) * 4
                y, x = mask.nonzero(as_tuple=True)
                order = image[y, x].sort(descending=True, stable=True).indices[:most]
                assert points.points.tolist() == torch.stack([x[order], y[order]], 1).float().tolist()

    def test_windows_of_many_candidates_are_not_held_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        probability = torch.rand(1, 40, 40, generator=generator())
        expected = suppress_non_maxima(probability, 3, 0.1)
        monkeypatch.setattr(suppression, "LARGEST", 50)  # less than two windows: rounds over all pixels to the end
        assert torch.equal(suppress_non_maxima(probability, 3, 0.1), expected)

    def test_nan_and_gradients_do_not_matter(self) -> None:
        probability = torch.rand(1, 24, 24, generator=generator())
        expected = suppress_non_maxima(probability.where(probability > 0.3, torch.zeros(())), 4, 0.1)
        broken = probability.where(probability > 0.3, torch.full((), torch.nan)).requires_grad_()
        assert torch.equal(suppress_non_maxima(broken, 4, 0.1), expected)
        (found,) = probability_to_points(broken, threshold=0.1, max_points=3, border=0, subpixel=False)
        assert len(found.points) == 3

    def test_a_weak_peak_beyond_a_suppressed_one_survives(self) -> None:
        probability = torch.zeros(1, 8, 24)
        probability[0, 4, 4], probability[0, 4, 7], probability[0, 4, 10] = 0.9, 0.6, 0.3  # 3 px apart, radius 4
        assert suppress_non_maxima(probability, 4)[0].nonzero().tolist() == [[4, 4], [4, 10]]

    def test_radius_zero_is_the_threshold_alone(self) -> None:
        probability = torch.rand(2, 9, 9, generator=generator())
        assert torch.equal(suppress_non_maxima(probability, 0, 0.4), probability > 0.4)

    def test_equal_to_the_threshold_is_not_enough(self) -> None:
        probability = torch.zeros(1, 5, 5)
        probability[0, 2, 2] = 0.25
        assert not suppress_non_maxima(probability, 1, 0.25).any()
        assert suppress_non_maxima(probability, 1, 0.2499).sum() == 1

    def test_nothing_there(self) -> None:
        assert not suppress_non_maxima(torch.zeros(2, 8, 8), 4).any()

    def test_images_of_a_batch_do_not_meet(self) -> None:
        probability = torch.rand(4, 24, 24, generator=generator())
        alone = torch.cat([suppress_non_maxima(image[None], 4, 0.2) for image in probability])
        assert torch.equal(suppress_non_maxima(probability, 4, 0.2), alone)
