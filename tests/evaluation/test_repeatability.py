"""Repeatability against cases computed by hand and against faults that must lower it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from superpoint.evaluation.repeatability import Repeatability, RepeatabilityProtocol, repeatability
from superpoint.geometry.homography import inside, inverse, sample_homography, warp_points
from superpoint.geometry.ranges import HomographyRanges

SIZE = (240, 320)


def shift(x: float, y: float) -> np.ndarray:
    matrix = np.eye(3)
    matrix[:2, 2] = x, y
    return matrix


def test_by_hand() -> None:
    first = np.array([[10, 10], [50, 50], [100, 100]], np.float32)
    second = np.array([[12, 10], [50, 54], [200, 200], [300, 20]], np.float32)
    # Within 3 px: (10, 10) and (12, 10), seen from both sides: 2 of 7 points, both at 2 px.
    found = repeatability(first, second, np.eye(3), SIZE, SIZE)
    assert (found.share, found.error, found.count) == (pytest.approx(2 / 7), 2.0, (3, 4))
    # Within 4 px: (50, 50) and (50, 54) as well.
    found = repeatability(first, second, np.eye(3), SIZE, SIZE, RepeatabilityProtocol(eps=4.0))
    assert found.share == pytest.approx(4 / 7)
    assert found.error == pytest.approx(3.0)


def test_only_points_visible_in_both_views_count() -> None:
    first = np.array([[10, 10], [310, 10]], np.float32)
    second = np.array([[40, 10], [5, 200]], np.float32)  # the second one lies left of the first view
    found = repeatability(first, second, shift(30, 0), SIZE, SIZE)
    assert found == Repeatability(1.0, 0.0, (1, 1))


def test_the_strongest_are_kept_after_the_invisible_are_dropped() -> None:
    first = np.array([[310, 10], [10, 10], [20, 10]], np.float32)
    second = np.array([[40, 10], [50, 10]], np.float32)
    found = repeatability(first, second, shift(30, 0), SIZE, SIZE, RepeatabilityProtocol(max_keypoints=1))
    assert found == Repeatability(1.0, 0.0, (1, 1))


def test_no_points() -> None:
    none, one = np.zeros((0, 2), np.float32), np.array([[10, 10]], np.float32)
    found = repeatability(none, none, np.eye(3), SIZE, SIZE)
    assert math.isnan(found.share)
    assert found.count == (0, 0)
    assert repeatability(none, one, np.eye(3), SIZE, SIZE).share == 0.0
    assert math.isnan(repeatability(none, one, np.eye(3), SIZE, SIZE).error)


def test_perfect_points_repeat_and_a_wrong_homography_does_not() -> None:
    rng = np.random.default_rng(0)
    h_a_b = sample_homography(rng, *SIZE, HomographyRanges(rotation=30, scale=[0.8, 1.25]))
    first = rng.uniform((0, 0), (319, 239), (200, 2)).astype(np.float32)
    second = warp_points(first, h_a_b)
    second = second[inside(second, *SIZE)]
    right = repeatability(first, second, h_a_b, SIZE, SIZE)
    assert right.share == 1.0
    assert right.error < 1e-3
    for wrong in (inverse(h_a_b), shift(8, 0) @ h_a_b):
        assert repeatability(first, second, wrong, SIZE, SIZE).share < 0.5
    swapped = repeatability(first[:, ::-1], second, h_a_b, SIZE, SIZE)
    assert swapped.share < 0.5


def test_the_protocol_has_a_name() -> None:
    assert RepeatabilityProtocol().name == "repeatability, 300 points, 3 px"
    assert RepeatabilityProtocol(eps=1, max_keypoints=0).name == "repeatability, all points, 1 px"
