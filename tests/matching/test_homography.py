"""The homography of matched points, among outliers, behind the horizon, of too few."""

import numpy as np
import pytest

from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.homography import sample_homography, warp_points
from superpoint.matching import (
    ESTIMATORS,
    Matches,
    estimate_homography,
    fit_homography,
)


def features(count: int, seed: int = 0, dim: int = 8) -> Features:
    rng = np.random.default_rng(seed)
    described = rng.normal(size=(count, dim))
    return Features(rng.random((count, 2)) * 100, rng.random(count), described, (128, 128))


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


@pytest.mark.parametrize("method", ESTIMATORS)
@pytest.mark.parametrize("mirrored", [False, True])
def test_points_stay_in_front_of_the_horizon(method: str, mirrored: bool) -> None:
    """Where the origin lies behind the horizon, a matrix whose last element is 1 maps every point to NaN."""
    matrix = np.array([[-1.0, -0.2, 0.0], [0.1, 1.0, 0.0], [0.01, 0.0, -1.0]])  # the horizon is x = 100
    if mirrored:
        matrix[0] *= -1
    start = np.random.default_rng(0).uniform((200, 0), (400, 300), (50, 2)).astype(np.float32)
    end = warp_points(start, matrix)
    assert np.isfinite(end).all()
    a, b = (Features(points, np.ones(50), None, (512, 512)) for points in (start, end))
    pairs = Matches(np.stack([np.arange(50)] * 2, axis=1), np.ones(50, np.float32))
    found, inliers = estimate_homography(a, b, pairs, method)
    if mirrored and method != "ransac":
        assert found is None  # of exact points; of others it may be a wrong one
        return
    assert inliers.all()
    assert found is not None
    np.testing.assert_allclose(warp_points(start, found), end, atol=0.05)


def test_matches_that_point_nowhere() -> None:
    beyond = Matches(np.array([[0, 0], [1, 3]]), np.ones(2, np.float32))
    with pytest.raises(ValueError, match=r"matches: found indices 0..3 into features1, expected 0..2"):
        estimate_homography(features(3), features(3), beyond)
    for options, message in (
        ({"method": "lmeds"}, "method: found 'lmeds'"),
        ({"threshold": 0.0}, "threshold"),
        ({"method": None}, "method: found 'None'"),
        ({"iterations": 0}, "iterations"),
        ({"iterations": 10.0}, "iterations: found 10.0, expected a whole number"),
        ({"confidence": 2.0}, "confidence"),
    ):
        nothing = Matches(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
        with pytest.raises(UserError, match=message):
            estimate_homography(features(3), features(3), nothing, **options)  # type: ignore[arg-type]
