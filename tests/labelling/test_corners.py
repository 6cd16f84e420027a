import cv2
import numpy as np
import pytest

from superpoint.geometry.homography import warp_image, warp_points
from superpoint.labelling.corners import APART, COARSE, FINE, NOISE, climb, corner_strength, sharpen


def floats(values: object) -> np.ndarray:
    return np.asarray(values, np.float32)


def grey(values: np.ndarray) -> np.ndarray:
    return values.astype(np.uint8)


SQUARE = floats([[40, 30], [80, 30], [80, 70], [40, 70]])


def square(blur: float = 0.7) -> np.ndarray:
    """Grey on black, with corners at SQUARE, drawn at eight times the size."""
    big = np.zeros((96 * 8, 128 * 8), np.uint8)
    cv2.fillConvexPoly(big, np.rint((SQUARE + 0.5) * 8 - 0.5).astype(np.int32), 180)
    small = cv2.resize(big, (128, 96), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), blur), np.uint8)


def test_strength_is_high_at_corners_and_low_on_edges_and_planes():
    strength = corner_strength(square(), *FINE)
    assert strength[30, 40] > 100  # a corner
    assert strength[30, 60] < 5
    assert abs(float(strength[50, 60])) < 1e-3
    assert strength.shape == (96, 128)
    assert strength.dtype == np.float32


def test_strength_is_in_squared_grey_levels_a_pixel():
    y, x = np.mgrid[0:64, 0:64]
    saddle = grey(128 + 20 * np.sin(x / 6) + 20 * np.sin(y / 6))
    expected = (20 / 6) ** 2 / 2  # both gradients have this mean square
    assert corner_strength(saddle, 0.5, 12.0)[32, 32] == pytest.approx(expected, rel=0.15)


def test_points_climb_to_the_same_place_from_around_it():
    strength = corner_strength(square(), *FINE)
    starts = floats([[x, y] for x in (40, 41, 43) for y in (29, 31, 32)])
    ends = climb(strength, starts, 3)
    assert np.ptp(ends, axis=0).max() < 1e-5
    assert np.abs(ends[0] - SQUARE[0] - 1.2).max() < 0.2  # on the inner side of the corner


def test_a_point_out_of_reach_stays():
    start = floats([[60.25, 50.5]])
    np.testing.assert_array_equal(climb(corner_strength(square(), *FINE), start, 3), start)


def test_the_image_edge_is_no_maximum():
    ramp = np.tile(np.arange(20, dtype=np.float32), (20, 1))
    start = floats([[18, 10]])
    np.testing.assert_array_equal(climb(ramp, start, 5), start)


def test_corners_move_with_the_image():
    matrix = np.array([[0.97, -0.2, 14.3], [0.2, 0.97, -6.6], [0, 0, 1]])
    image = square()
    turned = warp_image(image, matrix, (96, 128))
    scores = np.ones(4, np.float32)
    first, _ = sharpen(image, SQUARE, scores)
    second, _ = sharpen(turned, warp_points(SQUARE, matrix) + floats([1.2, -0.8]), scores)
    assert np.linalg.norm(warp_points(first, matrix) - second, axis=1).max() < 0.6  # unmoved they were off by 1.4


def test_out_of_focus_the_coarse_corner_counts():
    dim = np.asarray(cv2.GaussianBlur(square() // 6, (0, 0), 4.0), np.uint8)
    assert corner_strength(dim, *FINE).max() < NOISE
    starts = SQUARE + floats([1, 1])
    moved, _ = sharpen(dim, starts, np.ones(4, np.float32))
    np.testing.assert_array_equal(moved, climb(corner_strength(dim, *COARSE), starts, 3))
    assert (moved != climb(corner_strength(dim, *FINE), starts, 3)).any()


def test_corners_are_added_once_and_weakest():
    points, scores = sharpen(square(), SQUARE[:1] + 1, floats([0.7]), added=50)
    assert len(points) == 4  # the four of the square, the labelled one not twice
    assert np.linalg.norm(points[:, None] - SQUARE[None], axis=2).min(axis=0).max() < 2.0
    assert scores.tolist() == pytest.approx([0.7] * 4)


def test_no_corners_are_added_at_the_outline():
    image = np.full((60, 60), 40, np.uint8)
    image[:3, :3] = image[28:32, 28:32] = 200
    points, _ = sharpen(image, floats([]).reshape(0, 2), floats([]), added=1000)
    assert len(points) == 1
    assert np.abs(points[0] - 29.5).max() < 1


def test_noise_and_planes_have_no_corners_and_their_number_is_limited():
    rng = np.random.default_rng(1)
    noise = grey(np.clip(128 + rng.normal(0, 1.5, (96, 128)), 0, 255))
    none = np.zeros((0, 2), np.float32), np.zeros(0, np.float32)
    assert len(sharpen(square(), *none, added=2 * 1e4 / (96 * 128))[0]) == 2
    assert len(sharpen(noise, *none, added=100)[0]) == 0
    assert len(sharpen(np.full((8, 8), 90, np.uint8), *none, added=100)[0]) == 0


def test_of_labels_that_meet_the_strongest_stays():
    points = floats([[41, 31], [39, 29], [80, 70]])
    kept, scores = sharpen(square(), points, floats([0.9, 0.5, 0.3]))
    assert scores.tolist() == pytest.approx([0.9, 0.3])
    apart = np.abs(kept[0] - kept[1]).max()
    assert apart >= APART


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (2, 2), (5, 3)])
def test_tiny_images(shape):
    points, scores = sharpen(np.zeros(shape, np.uint8), np.zeros((1, 2), np.float32), floats([0.5]), added=10)
    np.testing.assert_array_equal(points, [[0, 0]])
    assert scores.tolist() == [0.5]
