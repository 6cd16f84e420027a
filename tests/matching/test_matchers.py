"""Matchers on cases small enough to check by hand."""

from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.matching import (
    ESTIMATORS,
    Matches,
    compare_descriptors,
    estimate_homography,
    match,
    match_compared,
)


def far_apart(descriptors: np.ndarray) -> Features:
    """Keypoints in a row, each out of the others' neighbourhood."""
    places = np.stack([np.arange(len(descriptors)) * 20.0, np.zeros(len(descriptors))], axis=1)
    return Features(places, None, descriptors, (640, 480))


def match_descriptors(first: np.ndarray, second: np.ndarray, method: str = "mutual", **options: float) -> Matches:
    return match_compared(compare_descriptors(far_apart(first), far_apart(second)), method, **options)


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


def test_the_ratio_against_its_definition() -> None:
    rng = np.random.default_rng(3)
    first = rng.normal(size=(60, 8))
    second = np.concatenate([first[:30] + 0.3 * rng.normal(size=(30, 8)), rng.normal(size=(20, 8))])
    first, second = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (first, second))
    far = np.linalg.norm(first[:, None] - second[None], axis=2)
    expected = set()
    for i, j in enumerate(far.argmin(axis=1)):
        rows, columns = np.sort(far[i]), np.sort(far[:, j])
        if far[i, j] == columns[0] and rows[0] < 0.8 * rows[1] and columns[0] < 0.8 * columns[1]:
            expected.add((i, int(j)))
    found = {tuple(pair) for pair in match_descriptors(first, second, "ratio").indices.tolist()}
    assert found == expected
    assert 5 < len(found) < len(match_descriptors(first, second))


def test_the_ratio_passes_over_keypoints_around_the_nearest() -> None:
    first = Features([[50.0, 50.0]], None, directions([0]), (640, 480))
    large, unknown = (960, 1280), (0, 0)
    for apart, size, expected in ((9.9, (640, 480), 1), (10.1, (640, 480), 0), (19.9, large, 1), (9.9, unknown, 1)):
        places = [[100.0, 100.0], [100.0 + apart * 0.6, 100.0 + apart * 0.8], [300.0, 100.0]]
        second = Features(places, None, directions([4, -4.1, 91]), size)
        assert len(match(first, second, "ratio")) == expected
        assert len(match(second, first, "ratio")) == expected


def test_the_ratio_against_its_definition_in_a_crowd() -> None:
    first, second = features(80, 1, dim=4), features(90, 2, dim=4)
    far = np.sqrt(2 - 2 * compare_descriptors(first, second).similarity)
    expected = set()
    for i, j in enumerate(far.argmin(axis=1).tolist()):
        there = np.linalg.norm(second.keypoints - second.keypoints[j], axis=1) > 128 / 64
        back = np.linalg.norm(first.keypoints - first.keypoints[i], axis=1) > 128 / 64
        if far[:, j].argmin() == i and far[i, j] < 0.8 * min(far[i, there].min(), far[back, j].min()):
            expected.add((i, j))
    assert {tuple(pair) for pair in match(first, second, "ratio").indices.tolist()} == expected
    assert 5 < len(expected) < len(match(first, second))


def test_dual_softmax_scores_are_probabilities() -> None:
    first = np.eye(4, dtype=np.float32)
    found = match_descriptors(first, first, "dual_softmax", temperature=0.1)
    alone = (np.exp(10) / (np.exp(10) + 3)) ** 2
    assert found.scores == pytest.approx([alone] * 4, rel=1e-5)
    assert len(match_descriptors(first, first, "dual_softmax", temperature=1.0, min_score=0.9).indices) == 0


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
