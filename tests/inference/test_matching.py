from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpoint.errors import UserError
from superpoint.geometry.homography import sample_homography, warp_image, warp_points
from superpoint.inference import FeatureDetector, Features, Matches, estimate_homography, match
from superpoint.matching import ESTIMATORS
from tests.conftest import photograph
from tests.inference.test_images import one_line


def features(count: int, seed: int = 0, dim: int = 8, scale: float = 100.0) -> Features:
    rng = np.random.default_rng(seed)
    described = rng.normal(size=(count, dim))
    return Features(rng.random((count, 2)) * scale, rng.random(count), described, (128, 128))


def test_permuted_descriptors_find_each_other() -> None:
    a = features(50)
    order = np.random.default_rng(3).permutation(50)
    assert a.descriptors is not None
    b = Features(a.keypoints[order], a.scores[order], a.descriptors[order] * 7, a.image_size)  # of any length
    found = match(a, b)
    np.testing.assert_array_equal(order[found.indices[:, 1]], found.indices[:, 0])
    np.testing.assert_allclose(found.scores, 1, atol=1e-5)


@pytest.mark.parametrize("method", ["mutual", "ratio", "dual_softmax"])
@pytest.mark.parametrize(("first", "second"), [(0, 5), (5, 0), (0, 0), (1, 1)])
def test_few_points(method: str, first: int, second: int) -> None:
    found = match(features(first, 1), features(second, 2), method, min_score=-1)
    assert len(found) == min(first, second)
    assert found.indices.shape == (len(found), 2)
    estimate = estimate_homography(features(first, 1), features(second, 2), found)
    assert estimate.matrix is None
    assert estimate.inliers.tolist() == [False] * len(found)


def test_what_cannot_be_matched() -> None:
    plain = Features(np.zeros((3, 2)), np.zeros(3), None, (8, 8))
    with pytest.raises(UserError, match=r"features1: found no descriptors"):
        match(features(3), plain)
    with pytest.raises(ValueError, match="found lengths 8 and 4"):
        match(features(3), features(3, dim=4))
    with pytest.raises(ValueError, match="features0: found list"):
        match([features(3)], features(3))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"method: found 'mutal', expected one of .*did you mean 'mutual'"):
        match(features(3), features(3), "mutal")
    for name, value in (("ratio", 0.0), ("temperature", -1.0), ("min_score", 2.0)):
        with pytest.raises(UserError, match=f"{name}: found"):
            match(features(3), features(3), **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ESTIMATORS)
def test_homography_of_points_with_outliers(method: str) -> None:
    rng = np.random.default_rng(0)
    h_0_1 = sample_homography(rng, 240, 320)
    start = (rng.random((100, 2)) * (320, 240)).astype(np.float32)
    end = warp_points(start, h_0_1)
    wrong = np.arange(100) % 4 == 0
    end[wrong] += rng.uniform(30, 90, (int(wrong.sum()), 2))
    a, b = (Features(points, np.ones(100), None, (320, 240)) for points in (start, end))
    matches = Matches(np.stack([np.arange(100)] * 2, axis=1), np.ones(100, np.float32))
    matrix, inliers = estimate_homography(a, b, matches, method)
    np.testing.assert_array_equal(inliers, ~wrong)
    assert matrix is not None
    np.testing.assert_allclose(matrix, h_0_1 / h_0_1[2, 2], atol=1e-3 * np.abs(h_0_1).max())
    np.testing.assert_allclose(warp_points(start, matrix)[~wrong], end[~wrong], atol=0.01)
    again, _ = estimate_homography(a, b, matches, method)
    assert again is not None
    np.testing.assert_array_equal(matrix, again)


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


def test_images_from_end_to_end(detector: FeatureDetector) -> None:
    """An image and the same moved by whole cells: random descriptors are enough for that."""
    image = photograph("coffee", 160, 200)
    h_0_1 = np.array([[1.0, 0, -16], [0, 1, 8], [0, 0, 1]])
    moved = warp_image(image, h_0_1, (160, 200))
    a, b = detector.detect([image, moved], threshold=0.005)
    matches = match(a, b, "ratio", ratio=0.9)
    found, inliers = estimate_homography(a, b, matches)
    assert inliers.sum() > 20
    assert found is not None
    np.testing.assert_allclose(found, h_0_1, atol=0.5)


NUMBERS = st.sampled_from([0.0, 1.0, -1.0, 1e-30, 1e30, 127.0, np.nan, np.inf])


@st.composite
def any_features(draw: st.DrawFn) -> Any:
    count, dim = draw(st.integers(0, 6)), draw(st.sampled_from([0, 1, 4, 4, 4]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    points = rng.random((count, draw(st.sampled_from([2, 2, 2, 3])))) * draw(NUMBERS)
    descriptors = rng.normal(size=(count, dim)) * draw(NUMBERS) if draw(st.booleans()) or dim == 4 else None
    return Features(points, rng.random(count), descriptors, (draw(st.sampled_from([64, 0])), 64))


def check_fuzz(data: st.DataObject) -> None:
    try:
        with np.errstate(all="ignore"):
            a, b = data.draw(any_features()), data.draw(any_features())
            method = data.draw(st.sampled_from(["mutual", "ratio", "dual_softmax", "x"]))
            found = match(a, b, method, min_score=data.draw(st.sampled_from([-1.0, 0.0, 3.0])))
            estimator = data.draw(st.sampled_from([*ESTIMATORS, ""]))
            estimate = estimate_homography(
                a, b, found, estimator, threshold=data.draw(st.sampled_from([None, 3.0, 0.0]))
            )
    except (ValueError, UserError) as error:
        one_line(error)
        return
    assert len(np.unique(found.indices[:, 0])) == len(found)
    assert estimate.inliers.shape == (len(found),)
    assert estimate.matrix is None or np.isfinite(estimate.matrix).all()


FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])


@FUZZ
@given(st.data())
def test_any_features_give_matches_or_one_line(data: st.DataObject) -> None:
    check_fuzz(data)


@pytest.mark.slow
@settings(FUZZ, max_examples=3000)
@given(st.data())
def test_any_of_thousands_of_features(data: st.DataObject) -> None:
    check_fuzz(data)
