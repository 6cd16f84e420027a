"""Corners of drawn squares tell where their labels should be."""

import cv2
import numpy as np
import pytest

from superpoint.diagnostics.checks.corners import MISTAKES, corner_evidence


def square(seed: int, size: tuple[int, int] = (64, 80)) -> tuple[np.ndarray, np.ndarray]:
    """A turned square on a noisy ground, with its corners."""
    rng = np.random.default_rng(seed)
    height, width = size
    angle, centre = rng.uniform(0, 1.5), rng.uniform([26, 26], [width - 26, height - 26])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = centre + 13 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ turn.T
    large = np.full((4 * height, 4 * width), 60, np.uint8)
    drawn = np.round(((corners + 0.5) * 4 - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(large, [drawn], 190, cv2.LINE_AA, 4)
    image = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA).astype(float)
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8), corners.astype(np.float32)


DRAWN = [square(seed) for seed in range(24)]


def test_right_labels() -> None:
    seen = corner_evidence(DRAWN)
    assert seen.points == 96
    assert seen.rank > 0.97
    assert seen.quality > 0.9
    assert seen.clear > 80
    # Polygons are filled about 0.1 px too large by OpenCV, the same on all sides.
    assert seen.offset == pytest.approx((0, 0), abs=0.06)
    assert max(abs(step) for step in seen.shift[:2]) <= 1


@pytest.mark.parametrize("bias", [(0.44, 0.44), (0.0, -0.25), (-0.5, 0.0)])
def test_bias_is_measured(bias: tuple[float, float]) -> None:
    seen = corner_evidence([(image, points + np.array(bias, np.float32)) for image, points in DRAWN])
    assert seen.offset == pytest.approx(bias, abs=0.08)
    assert max(seen.error) < 0.05


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_mistakes_are_recognised(name: str) -> None:
    back = {
        "x and y are swapped": lambda xy: xy[:, ::-1],
        "x and y were swapped before they were scaled to the image": lambda xy: xy[:, ::-1] * [80 / 64, 64 / 80],
        "x is mirrored (counted from the right)": lambda xy: [79, 0] + xy * [-1, 1],
        "y is mirrored (counted from below)": lambda xy: [0, 63] + xy * [1, -1],
        "they are in the frame of an image twice as large": lambda xy: (xy + 0.5) * 2 - 0.5,
        "they are in the frame of an image half as large": lambda xy: (xy + 0.5) / 2 - 0.5,
        "they are shares of the image's sides, not pixels": lambda xy: (xy + 0.5) / [80, 64],
    }
    moved = [(image, back[name](points).astype(np.float32)) for image, points in DRAWN]
    seen = corner_evidence(moved)
    assert seen.mistake[0] == name
    assert seen.scaled(seen.mistake[1]) > seen.quality + 0.3


def test_shift_is_found() -> None:
    seen = corner_evidence([(image, points + np.array([5, -3], np.float32)) for image, points in DRAWN])
    assert np.abs(np.array(seen.shift[:2]) - [-5, 3]).max() <= 1


def test_nothing_to_see() -> None:
    empty = corner_evidence([])
    assert (empty.points, empty.clear, empty.rank) == (0, 0, 0.0)
    flat = corner_evidence([(np.zeros((32, 32), np.uint8), np.full((3, 2), 16, np.float32))] * 2)
    assert flat.points == 6
    assert flat.quality == pytest.approx(0)
