import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpoint.geometry.homography import (
    frame_corners,
    inside,
    inverse,
    is_convex,
    resize_matrix,
    resize_points,
    sample_homography,
    shrunk_size,
    warp_image,
    warp_points,
    warp_valid,
)
from superpoint.geometry.ranges import HomographyRanges
from tests.drawing import centroid, gray_spots

seeds = st.integers(0, 2**31)


@given(seeds, st.floats(0.1, 10), st.floats(0.1, 10))
def test_resize_there_and_back_is_the_identity(seed: int, scale_x: float, scale_y: float) -> None:
    points = np.random.default_rng(seed).uniform(-50, 500, (20, 2)).astype(np.float32)
    back = resize_points(resize_points(points, scale_x, scale_y), 1 / scale_x, 1 / scale_y)
    np.testing.assert_allclose(back, points, atol=2e-3)


def test_resize_maps_the_outline_to_the_outline() -> None:
    corners = frame_corners(30, 40)
    np.testing.assert_allclose(resize_points(corners, 0.5, 3), frame_corners(90, 20))
    # 960 -> 120: scaling alone would put the first pixel centre 0.44 px too far right.
    assert resize_points(np.zeros((1, 2)), 1 / 8, 1 / 8)[0, 0] == pytest.approx(-0.4375)


@given(seeds)
def test_resize_matrix_is_resize_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, scale = rng.uniform(0, 100, (10, 2)), rng.uniform(0.2, 5, 2)
    np.testing.assert_allclose(warp_points(points, resize_matrix(*scale)), resize_points(points, *scale), atol=1e-4)


@pytest.mark.parametrize("scale", [0.5, 0.25, 2.0, 1.7])
def test_image_and_points_resize_together(scale: float) -> None:
    point = np.array([[70.3, 41.8]])
    image = gray_spots(point, 100, 140, sigma=6)
    size = (round(140 * scale), round(100 * scale))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    expected = resize_points(point, size[0] / 140, size[1] / 100)[0]
    np.testing.assert_allclose(centroid(resized), expected, atol=0.05)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_image_and_points_warp_together(seed: int) -> None:
    height, width, gain = 120, 160, 1.5
    h_a_b = sample_homography(np.random.default_rng(seed), height, width)
    y, x = np.mgrid[:height, :width]
    in_b = np.stack([x, y], axis=-1).reshape(-1, 2)
    in_a = warp_points(in_b, np.linalg.inv(h_a_b).astype(np.float64))
    seen = inside(in_a, height, width, margin=2)
    for axis, ramp in enumerate((x, y)):
        warped = warp_image(np.round(ramp * gain).astype(np.uint8), h_a_b, (height, width))
        error = warped.reshape(-1)[seen] / gain - in_a[seen, axis]
        assert np.abs(error).max() < 0.8  # grey values are whole: 0.67 px, twice half a step
        assert abs(error.mean()) < 0.03


@settings(max_examples=50, deadline=None)
@given(seeds, st.floats(0, 180), st.floats(0, 0.45))
def test_sampled_homographies_are_convex_unmirrored_and_cover(seed: int, rotation: float, perspective: float) -> None:
    ranges = HomographyRanges(rotation=rotation, perspective=perspective, scale=[0.5, 2])
    matrix = sample_homography(np.random.default_rng(seed), 120, 160, ranges)
    corners = warp_points(frame_corners(120, 160), matrix)
    assert is_convex(corners, min_area=0.04 * 120 * 160)
    assert np.isfinite(np.linalg.inv(matrix)).all()


def test_sampling_without_any_motion_is_the_identity() -> None:
    still = HomographyRanges(rotation=0, scale=[1, 1], perspective=0, shear=0, translation=0)
    matrix = sample_homography(np.random.default_rng(0), 120, 160, still)
    np.testing.assert_allclose(matrix, np.eye(3), atol=1e-6)


def test_convexity() -> None:
    square = frame_corners(10, 10)
    assert is_convex(square)
    assert not is_convex(square[::-1])  # mirrored
    assert not is_convex(square[[0, 2, 1, 3]])  # crossed
    assert not is_convex(np.array([[0, 0], [10, 0], [2, 2], [0, 10]]))  # dented
    assert not is_convex(square, min_area=101)
    assert not is_convex(np.full((4, 2), np.nan))


def test_points_behind_the_horizon_are_nan_and_outside() -> None:
    matrix = np.array([[1.0, 0, 0], [0, 1, 0], [-0.1, 0, 1]])  # depth 0 at x = 10
    warped = warp_points(np.array([[5.0, 0], [10, 0], [15, 0]]), matrix)
    assert np.isfinite(warped[0]).all()
    assert np.isnan(warped[1:]).all()
    assert inside(warped, 100, 100).tolist() == [True, False, False]


def test_inside_takes_whole_border_pixels() -> None:
    points = np.array([[-0.5, 0], [-0.51, 0], [9.49, 0], [9.5, 0], [4, 19.4], [4, 19.6]])
    assert inside(points, 20, 10).tolist() == [True, False, True, False, True, False]


def test_valid_mask_is_eroded_only_where_the_source_ends() -> None:
    shift = np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]])
    mask = warp_valid(shift, (40, 40), (40, 40), margin=3)
    expected = np.zeros((40, 40), bool)
    expected[:, 13:] = True
    np.testing.assert_array_equal(mask, expected)


def test_inverse() -> None:
    h_a_b = sample_homography(np.random.default_rng(0), 48, 64)
    assert np.allclose(inverse(h_a_b) @ h_a_b, np.eye(3))
    with pytest.raises(ValueError, match="singular"):
        inverse(np.diag([1.0, 1.0, 0.0]))


def test_channels_are_warped_alike() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 6), dtype=np.uint8)
    matrix = sample_homography(np.random.default_rng(1), 20, 30)
    for border in (cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT):
        warped = warp_image(image, matrix, (25, 35), border, 7)
        alone = [warp_image(np.ascontiguousarray(image[:, :, k]), matrix, (25, 35), border, 7) for k in range(6)]
        # OpenCV rounds positions of two channels to 1/32 px.
        np.testing.assert_allclose(warped.astype(int), np.dstack(alone), atol=255 / 32)


def test_shrunk_size() -> None:
    assert shrunk_size(480, 640, 320) == (240, 320)
    assert shrunk_size(480, 640, 0) == shrunk_size(480, 640, 9999) == (480, 640)
    assert shrunk_size(1, 5000, 100) == (1, 100)
    assert shrunk_size(641, 480, 320) == (320, 240)
