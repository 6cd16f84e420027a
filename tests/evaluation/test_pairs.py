"""Pair metrics against cases computed by hand, and against planted errors."""

import math
from dataclasses import replace

import numpy as np
import pytest

from superpoint.evaluation.pairs import (
    area_under_curve,
    bootstrap_interval,
    corner_error,
    match_errors,
    matching_accuracy,
    matching_score,
    nearest_neighbour_precision,
    paired_test,
    repeatability,
)
from superpoint.features import Features
from superpoint.geometry.homography import inside, inverse, sample_homography, warp_points
from superpoint.geometry.ranges import HomographyRanges
from superpoint.matching import compare_descriptors

SIZE = (480, 640)


def at(points: object, size: tuple[int, int] = SIZE) -> Features:
    """Keypoints of a view of (height, width)."""
    return Features(np.asarray(points, np.float32).reshape(-1, 2), image_size=(size[1], size[0]))


def shift(x: float, y: float) -> np.ndarray:
    matrix = np.eye(3)
    matrix[:2, 2] = x, y
    return matrix


def test_corner_error() -> None:
    assert corner_error(shift(3, 4), np.eye(3), SIZE) == pytest.approx(5.0)
    assert corner_error(None, np.eye(3), SIZE) == math.inf
    rng = np.random.default_rng(0)
    h_a_b = sample_homography(rng, *SIZE)
    assert corner_error(h_a_b, h_a_b, SIZE) == 0
    assert corner_error(-2 * h_a_b, h_a_b, SIZE) == pytest.approx(0, abs=1e-4)  # the scale of a homography is free
    assert corner_error(inverse(h_a_b), h_a_b, SIZE) > 20
    behind = np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1]])  # the horizon runs through the image
    assert corner_error(behind, np.eye(3), SIZE) == math.inf


def test_area_under_curve() -> None:
    errors = [0.5, 2.0, math.inf]
    # The curve is 0 up to 0.5, 1/3 up to 2 and 2/3 up to 4.
    assert area_under_curve(errors, 4) == pytest.approx((1.5 / 3 + 2 * 2 / 3) / 4)
    steps = np.linspace(0, 4, 100_001)
    assert area_under_curve(errors, 4) == pytest.approx((np.array(errors)[:, None] <= steps).mean(), abs=1e-4)
    assert math.isnan(area_under_curve([], 1))


def test_matching_accuracy() -> None:
    first = np.array([[0, 0], [10, 0], [20, 0]], np.float32)
    errors = match_errors(first, first + np.array([[0, 0], [0, 2], [30, 40]]), np.eye(3))
    assert errors == pytest.approx([0, 2, 50])
    assert matching_accuracy(errors, [1, 2, 3, 50]) == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1])
    assert matching_accuracy([], [1, 2]).tolist() == [0, 0]


def test_matching_score_counts_shared_points_only() -> None:
    first = at([[100, 100], [200, 100], [630, 100]])  # the last one leaves the second view
    second = at([[150, 100], [250, 108], [10, 5]])  # the last one is not in the first view
    pairs = np.array([[0, 0], [1, 1], [2, 2]])
    # Shared: two keypoints each; one match is within 3 px, one 8 px off.
    assert matching_score(first, second, pairs, shift(50, 0)) == pytest.approx(0.5)
    assert matching_score(first, second, pairs, shift(50, 0), eps=8) == pytest.approx(1.0)
    assert matching_score(first, second, pairs, shift(-50, 0)) == 0
    assert matching_score(at([]), second, pairs[:0], np.eye(3)) == 0


def test_nearest_neighbour_precision_by_hand() -> None:
    points = [[0, 0], [50, 0], [100, 0]]
    first = replace(at(points), descriptors=np.eye(3))

    def precision(a: Features, b: Features) -> float:
        return nearest_neighbour_precision(compare_descriptors(a, b), np.eye(3))

    assert precision(first, first) == pytest.approx(1.0)
    # The last point is described like the first: in each direction two of three are found, the wrong one last.
    mixed = replace(first, descriptors=np.array([[1, 0, 0], [0, 1, 0], [0.9, 0.1, 0]]))
    assert precision(first, mixed) == pytest.approx(2 / 3, abs=1e-6)
    assert math.isnan(precision(first, replace(first, keypoints=first.keypoints + 200)))
    assert math.isnan(precision(replace(at([]), descriptors=np.zeros((0, 3))), first))


def test_planted_errors_lower_every_metric() -> None:
    rng = np.random.default_rng(4)
    h_a_b = sample_homography(rng, *SIZE, HomographyRanges(rotation=20, scale=[0.9, 1.2]))
    first = rng.uniform((100, 100), (540, 380), (100, 2)).astype(np.float32)
    homogeneous = np.c_[first, np.ones(100)] @ h_a_b.T
    second = (homogeneous[:, :2] / homogeneous[:, 2:]).astype(np.float32)
    descriptors = rng.normal(size=(100, 32))
    pairs = np.stack([np.arange(100)] * 2, axis=1)

    def scores(a: np.ndarray, b: np.ndarray, h: np.ndarray) -> tuple[float, ...]:
        accuracy = matching_accuracy(match_errors(a, b, h), [3])[0]
        first, second = (replace(at(points), descriptors=descriptors) for points in (a, b))
        precision = nearest_neighbour_precision(compare_descriptors(first, second), h)
        return accuracy, matching_score(first, second, pairs, h), 0.0 if math.isnan(precision) else precision

    right = scores(first, second, h_a_b)
    assert min(right) > 0.99
    half = np.diag([0.5, 0.5, 1.0])  # the images were halved, the homography was not
    for wrong in (
        scores(first, second, inverse(h_a_b)),
        scores(first[:, ::-1], second[:, ::-1], h_a_b),
        scores(first / 2, second / 2, h_a_b),
    ):
        assert max(wrong) < 0.3
    assert min(scores(first / 2, second / 2, half @ h_a_b @ np.linalg.inv(half))) > 0.99


class TestRepeatability:
    SIZE = (240, 320)

    def repeated(self, first: object, second: object, h_a_b: np.ndarray, eps: float = 3, **options: int):
        return repeatability(at(first, self.SIZE), at(second, self.SIZE), h_a_b, [eps], **options)[0]

    def test_by_hand(self) -> None:
        first = [[10, 10], [50, 50], [100, 100]]
        second = [[12, 10], [50, 54], [200, 200], [300, 20]]
        # Within 3 px: (10, 10) and (12, 10), seen from both sides: 2 of 7 keypoints, both at 2 px.
        assert self.repeated(first, second, np.eye(3)) == (pytest.approx(2 / 7), 2.0, 3.5)
        # Within 4 px: (50, 50) and (50, 54) as well.
        assert self.repeated(first, second, np.eye(3), 4)[:2] == (pytest.approx(4 / 7), pytest.approx(3.0))

    def test_only_keypoints_visible_in_both_views_count(self) -> None:
        # The second of the second view lies left of the first view.
        assert self.repeated([[10, 10], [310, 10]], [[40, 10], [5, 200]], shift(30, 0)) == (1.0, 0.0, 1)

    def test_the_strongest_are_kept_after_the_invisible_are_dropped(self) -> None:
        first, second = [[310, 10], [10, 10], [20, 10]], [[40, 10], [50, 10]]
        assert self.repeated(first, second, shift(30, 0), max_keypoints=1) == (1.0, 0.0, 1)

    def test_no_keypoints(self) -> None:
        share, _, count = self.repeated([], [], np.eye(3))
        assert (math.isnan(share), count) == (True, 0)
        share, error, _ = self.repeated([], [[10, 10]], np.eye(3))
        assert (share, math.isnan(error)) == (0.0, True)

    def test_perfect_keypoints_repeat_and_a_wrong_homography_does_not(self) -> None:
        rng = np.random.default_rng(0)
        h_a_b = sample_homography(rng, *self.SIZE, HomographyRanges(rotation=30, scale=[0.8, 1.25]))
        first = rng.uniform((0, 0), (319, 239), (200, 2)).astype(np.float32)
        second = warp_points(first, h_a_b)
        second = second[inside(second, *self.SIZE)]
        right = self.repeated(first, second, h_a_b)
        assert right.share == 1.0
        assert right.error < 1e-3
        for wrong in (inverse(h_a_b), shift(8, 0) @ h_a_b):
            assert self.repeated(first, second, wrong).share < 0.5
        assert self.repeated(first[:, ::-1], second, h_a_b).share < 0.5


def test_bootstrap_interval() -> None:
    rng = np.random.default_rng(5)
    values = rng.random(400) < 0.3
    low, high = bootstrap_interval(values)
    spread = 1.96 * math.sqrt(0.3 * 0.7 / 400)
    assert low == pytest.approx(values.mean() - spread, abs=0.01)
    assert high == pytest.approx(values.mean() + spread, abs=0.01)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval([1.0, math.nan, 1.0]) == (1.0, 1.0)
    assert all(map(math.isnan, bootstrap_interval([])))


def test_paired_test() -> None:
    # Five equal gains: of the 32 ways to flip them, two are as large.
    one = np.ones((5, 1))
    assert float(paired_test(one, draws=40_000)[0]) == pytest.approx(2 / 32, abs=0.004)
    # A second column beside it shares the flips: the larger of the two counts.
    rng = np.random.default_rng(1)
    assert paired_test(np.hstack([one, rng.normal(0, 1, (5, 1))]))[0] >= paired_test(one)[0]
    assert paired_test(np.zeros((9, 1)))[0] == 1
    assert paired_test(np.full((3, 1), np.nan))[0] == 1
    # Equal methods, nine columns: some verdict in one case of twenty, not in one of three.
    lowest = np.array([paired_test(rng.normal(0, 1, (20, 9)), draws=400).min() for _ in range(400)])
    assert 0.02 < (lowest <= 0.05).mean() < 0.09
