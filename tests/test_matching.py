"""Matchers and homography estimation on cases small enough to check by hand."""

import math
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.homography import sample_homography, warp_points
from superpoint.matching import (
    ESTIMATORS,
    Homography,
    Matches,
    compare_descriptors,
    estimate_homography,
    fit_homography,
    match,
    match_compared,
    verdict,
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


def features(count: int, seed: int = 0, dim: int = 8) -> Features:
    rng = np.random.default_rng(seed)
    described = rng.normal(size=(count, dim))
    return Features(rng.random((count, 2)) * 100, rng.random(count), described, (128, 128))


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


NUMBERS = st.sampled_from([0.0, 1.0, -1.0, 1e-30, 1e30, 127.0, np.nan, np.inf])


@st.composite
def any_features(draw: st.DrawFn) -> Any:
    count, dim = draw(st.integers(0, 6)), draw(st.sampled_from([0, 1, 4, 4, 4]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    points = rng.random((count, draw(st.sampled_from([2, 2, 2, 3])))) * draw(NUMBERS)
    descriptors = rng.normal(size=(count, dim)) * draw(NUMBERS) if draw(st.booleans()) or dim == 4 else None
    return Features(points, rng.random(count), descriptors, (draw(st.sampled_from([64, 0])), 64))


@settings(max_examples=200, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@given(st.data())
def test_any_features_give_matches_or_one_line(data: st.DataObject) -> None:
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
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert len(np.unique(found.indices[:, 0])) == len(found)
    assert estimate.inliers.shape == (len(found),)
    assert estimate.matrix is None or np.isfinite(estimate.matrix).all()
