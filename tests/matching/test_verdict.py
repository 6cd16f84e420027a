"""The verdict against its formula, on random and on true matches."""

import math

import numpy as np
import pytest

from superpoint.features import Features
from superpoint.geometry.homography import sample_homography, warp_points
from superpoint.matching import (
    ESTIMATORS,
    Homography,
    Matches,
    estimate_homography,
    verdict,
)


@pytest.mark.parametrize(
    ("matches", "estimator", "radius"), [(30, "gcransac", 2), (300, "ransac", 3), (2000, "magsac", 1)]
)
def test_verdict_by_hand(matches: int, estimator: str, radius: float) -> None:
    """Moulon, Monasse, Marlet 2012: (M - 4) C(M, k) C(k, 4) p^(k - 4) below 1e-4."""
    seen = Features(np.zeros((0, 2)), image_size=(640, 480))
    chance = math.pi * radius**2 / (640 * 480)
    told = []
    for agreeing in range(25):
        alarms = (matches - 4) * math.comb(matches, agreeing) * math.comb(agreeing, 4) * chance ** (agreeing - 4)
        inliers = np.arange(matches) < agreeing
        told.append(verdict(seen, Homography(np.eye(3), inliers), estimator))
        assert told[-1] == ("match" if agreeing > 4 and alarms < 1e-4 else "no match")
        assert verdict(seen, Homography(np.eye(3), inliers), "ransac", threshold=radius) == told[-1]
        assert verdict(seen, Homography(None, inliers), estimator) == "no match"
    assert told == sorted(told, reverse=True)
    assert len(set(told)) == 2


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_verdict_on_random_matches_and_on_a_tenth_of_true_ones(estimator: str) -> None:
    rng = np.random.default_rng(2)
    size, count = (640, 480), 300
    pairs = Matches(np.stack([np.arange(count)] * 2, axis=1), np.ones(count))
    shown = []
    for true in (0, 0, 0, 30, 30, 30):
        start, end = rng.uniform((0, 0), size, (count, 2)), rng.uniform((0, 0), size, (count, 2))
        end[:true] = warp_points(start[:true], sample_homography(rng, 480, 640))
        first, second = (Features(points, image_size=size) for points in (start, end))
        shown.append(verdict(second, estimate_homography(first, second, pairs, estimator), estimator))
    assert shown == ["no match"] * 3 + ["match"] * 3
    with pytest.raises(ValueError, match="found no image_size"):
        verdict(Features(np.zeros((0, 2))), Homography(None, np.zeros(0, bool)))
