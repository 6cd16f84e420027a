"""Matchers and homography estimation on cases small enough to check by hand."""

import numpy as np
import pytest

from superpoint.geometry.homography import sample_homography, warp_points
from superpoint.matching import (
    ESTIMATORS,
    Matches,
    compare_descriptors,
    fit_homography,
    match_compared,
)


def match_descriptors(first: np.ndarray, second: np.ndarray, method: str = "mutual", **options: float) -> Matches:
    return match_compared(compare_descriptors(first, second), method, **options)


def directions(degrees: list[float]) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_mutual_neighbours_by_hand() -> None:
    first, second = directions([0, 40, 90]), directions([92, 2, 5])
    found = match_descriptors(first, second)
    # 0 <-> 2 degrees and 90 <-> 92 degrees, at 2 degrees each; 40 degrees prefers 5, which prefers 0.
    assert {tuple(pair) for pair in found.indices.tolist()} == {(0, 1), (2, 0)}
    assert found.scores == pytest.approx(np.cos(np.deg2rad([2, 2])), abs=1e-5)


def test_the_order_of_views_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(40, 16)), rng.normal(size=(30, 16))
    for matcher in ("mutual", "ratio", "dual_softmax"):
        there = match_descriptors(first, second, matcher, ratio=0.95)
        back = match_descriptors(second, first, matcher, ratio=0.95)
        assert len(there.indices) > 0
        assert {tuple(pair) for pair in there.indices} == {tuple(pair[::-1]) for pair in back.indices}
        assert (np.diff(there.scores) <= 0).all()


def test_the_ratio_drops_what_is_ambiguous() -> None:
    first = directions([0, 90])
    second = directions([4, -4.1, 91])  # two candidates for 0 degrees, at nearly the same distance
    assert match_descriptors(first, second).indices.tolist() == [[1, 2], [0, 0]]
    assert match_descriptors(first, second, "ratio", ratio=0.8).indices.tolist() == [[1, 2]]


def test_dual_softmax_scores_are_probabilities() -> None:
    first = np.eye(4, dtype=np.float32)
    found = match_descriptors(first, first, "dual_softmax", temperature=0.1)
    alone = (np.exp(10) / (np.exp(10) + 3)) ** 2
    assert found.scores == pytest.approx([alone] * 4, rel=1e-5)
    assert len(match_descriptors(first, first, "dual_softmax", temperature=1.0, min_score=0.9).indices) == 0


def test_nothing_to_match() -> None:
    none = np.zeros((0, 8), np.float32)
    assert match_descriptors(none, np.ones((3, 8))).indices.shape == (0, 2)
    with pytest.raises(ValueError, match="lengths 8 and 4"):
        match_descriptors(np.ones((3, 8)), np.ones((3, 4)))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_homography_is_found_among_outliers(estimator: str) -> None:
    rng = np.random.default_rng(2)
    h_a_b = sample_homography(rng, 480, 640)
    first = rng.uniform((0, 0), (640, 480), (200, 2))
    second = warp_points(first, h_a_b).astype(np.float64)
    wrong = rng.permutation(200)[:80]
    second[wrong] += rng.uniform(20, 100, (80, 2))
    found = fit_homography(first, second, estimator)
    assert found.matrix is not None
    assert np.abs(warp_points(first, found.matrix) - warp_points(first, h_a_b)).max() < 0.05
    assert found.inliers.sum() == 120
    assert not found.inliers[wrong].any()
    again = fit_homography(first, second, estimator)
    assert again.matrix is not None
    assert np.array_equal(found.matrix, again.matrix)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_homography_is_a_result(estimator: str) -> None:
    few = np.array([[0, 0], [1, 0], [0, 1]], np.float64)
    found = fit_homography(few, few, estimator)
    assert found.matrix is None
    assert found.inliers.shape == (3,)
    same = np.ones((10, 2))
    assert fit_homography(same, same, estimator).matrix is None
    with pytest.raises(ValueError, match="found 3 and 2"):
        fit_homography(few, few[:2], estimator)
