"""Homographies on points and images, and THE pixel convention.

A point is (x, y) with pixel centres at integers: the top-left pixel covers [-0.5, 0.5] x [-0.5, 0.5] and an image of
width W spans x in [-0.5, W - 0.5]. Resizing by s therefore maps x -> (x + 0.5) * s - 0.5.
`H_a_b` maps points of frame a to frame b; the same matrix warps an image a -> b and its points a -> b.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.errors import UserError
from superpoint.geometry.ranges import HomographyRanges

Matrix = NDArray[np.float64]
Points = NDArray[np.float32]
OPENCV_CHANNELS = 4  # that its warps take at once


def resize_points(points: NDArray[np.floating], scale_x: float, scale_y: float) -> Points:
    """Return points [N, 2] (x, y) of an image, in the frame of that image resized by (scale_x, scale_y)."""
    scale = np.array([scale_x, scale_y])
    return ((np.asarray(points, np.float64).reshape(-1, 2) + 0.5) * scale - 0.5).astype(np.float32)


def shrunk_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Return (height, width) of an image whose longest side is shrunk to `longest` px, unless that is 0."""
    side = max(height, width)
    if not longest or side <= longest:
        return height, width
    return max(1, round(height * longest / side)), max(1, round(width * longest / side))


def resize_matrix(scale_x: float, scale_y: float) -> Matrix:
    """Return the resize of `resize_points` as a homography [3, 3]."""
    return np.array([[scale_x, 0, 0.5 * scale_x - 0.5], [0, scale_y, 0.5 * scale_y - 0.5], [0, 0, 1]])


def inverse(h_a_b: NDArray[np.floating]) -> Matrix:
    """Return `H_b_a` of `H_a_b`. Raises: ValueError for a singular matrix."""
    if abs(np.linalg.det(h_a_b)) < 1e-12:
        raise ValueError(f"homography: found a singular matrix {np.asarray(h_a_b).tolist()}")
    return np.asarray(np.linalg.inv(h_a_b), np.float64)


def warp_points(points: NDArray[np.floating], h_a_b: Matrix) -> Points:
    """Return points [N, 2] of frame a in frame b. A point at or behind the horizon of `h_a_b` becomes (nan, nan)."""
    xy = np.asarray(points, np.float64).reshape(-1, 2)
    homogeneous = xy @ h_a_b[:, :2].T + h_a_b[:, 2]
    depth = homogeneous[:, 2:]
    return np.where(depth > 1e-9, homogeneous[:, :2] / np.maximum(depth, 1e-9), np.nan).astype(np.float32)


def inside(points: NDArray[np.floating], height: int, width: int, margin: float = 0.0) -> NDArray[np.bool_]:
    """Return which points [N, 2] lie on the image, at least `margin` pixels from its outline. NaN is outside."""
    x, y = points[:, 0], points[:, 1]
    low = -0.5 + margin
    return (x >= low) & (y >= low) & (x < width - 0.5 - margin) & (y < height - 0.5 - margin)


def warp_image(
    image: NDArray[np.uint8], h_a_b: Matrix, size: tuple[int, int], border: int = cv2.BORDER_CONSTANT, value: float = 0
) -> NDArray[np.uint8]:
    """Warp an image [H, W] or [H, W, C] of frame a to frame b of size (height, width), bilinear.

    `border` is OpenCV's mode, `value` what a constant one holds.
    """
    if image.ndim == 3 and image.shape[2] > OPENCV_CHANNELS:
        first, rest = image[:, :, :OPENCV_CHANNELS], image[:, :, OPENCV_CHANNELS:]
        return np.dstack([warp_image(each, h_a_b, size, border, value) for each in (first, rest)])
    flags, values = cv2.INTER_LINEAR, (value,) * OPENCV_CHANNELS
    warped = cv2.warpPerspective(image, h_a_b, (size[1], size[0]), flags=flags, borderMode=border, borderValue=values)
    return np.asarray(warped, np.uint8)


def warp_valid(h_a_b: Matrix, size_a: tuple[int, int], size_b: tuple[int, int], margin: int = 0) -> NDArray[np.bool_]:
    """Return the pixels of frame b (height, width) that frame a covers, eroded by `margin` pixels at a's outline."""
    ones = np.full(size_a, 255, np.uint8)
    mask = cv2.warpPerspective(ones, h_a_b, (size_b[1], size_b[0]), flags=cv2.INTER_NEAREST)
    if margin > 0:
        # OpenCV's erosion takes what lies beyond the frame as valid: b's own outline is not eroded.
        mask = cv2.erode(mask, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    return mask > 0


def is_convex(corners: NDArray[np.floating], min_area: float = 0.0) -> bool:
    """Return whether corners [4, 2] are strictly convex, clockwise on screen (unmirrored), over `min_area` px^2."""
    # Plain floats: several times as fast as numpy on four points.
    vertices = corners.tolist()
    area = 0.0
    for i, (x, y) in enumerate(vertices):
        (px, py), (nx, ny) = vertices[i - 1], vertices[i - 3]
        if not (x - px) * (ny - y) - (y - py) * (nx - x) > 0:  # also false for NaN
            return False
        area += (px * y - x * py) / 2
    return area > min_area


def frame_corners(height: int, width: int) -> NDArray[np.float64]:
    """Return the outline corners [4, 2] of an image, clockwise from the top left."""
    return np.array([[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]])


def sample_homography(
    rng: np.random.Generator, height: int, width: int, ranges: HomographyRanges | None = None
) -> Matrix:
    """Draw a random homography [3, 3] of a frame onto itself.

    The frame's corners are displaced (perspective: each alone; shear: the two of a side together), zoomed, rotated and
    moved, until they are convex and cover at least 5 % of the frame. Raises: UserError if 1000 draws give none.
    """
    ranges = ranges or HomographyRanges()
    source = frame_corners(height, width)
    centre = source.mean(axis=0)
    side = np.array([width, height], np.float64)
    for _ in range(1000):
        corners = (source - centre) / side
        corners = corners + rng.uniform(-ranges.perspective, ranges.perspective, (4, 2))
        push = rng.uniform(-ranges.shear, ranges.shear, 2)
        corners[:, 0] += push[0] * np.sign(corners[:, 1])
        corners[:, 1] += push[1] * np.sign(corners[:, 0])
        corners = corners * side * np.exp(rng.uniform(*np.log(ranges.scale)))
        angle = np.deg2rad(rng.uniform(-ranges.rotation, ranges.rotation))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        corners = corners @ turn.T + centre + rng.uniform(-ranges.translation, ranges.translation, 2) * side
        if is_convex(corners, min_area=0.05 * height * width):
            matrix = cv2.getPerspectiveTransform(source.astype(np.float32), corners.astype(np.float32))
            return np.asarray(matrix, np.float64)
    raise UserError("homography: no convex warp that covers 5 % of the image in 1000 draws; the ranges are too wide")
