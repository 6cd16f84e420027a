"""The search for views, by an extractor that knows its own limits: SIFT without its orientation and its scale."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.homography import Matrix, frame_corners, inverse, resize_matrix, warp_image, warp_points
from superpoint.matching import Copies, Homography, Matches, explain, fit_homography, match_views, verdict, views
from tests.conftest import photograph

SIZE = (192, 240)


def upright_sift(image: np.ndarray) -> Features:
    """Describe corners by SIFT of one size and no angle: matches neither turned images nor other scales."""
    corners = cv2.goodFeaturesToTrack(image, 300, 0.01, 4)
    keys = [] if corners is None else [cv2.KeyPoint(float(x), float(y), 8, 0) for x, y in corners.reshape(-1, 2)]
    kept, values = cv2.SIFT.create().compute(image, keys) if keys else ([], None)
    points = np.array([key.pt for key in kept], np.float32).reshape(-1, 2)
    described = np.zeros((0, 128)) if values is None else values / np.linalg.norm(values, axis=1, keepdims=True)
    return Features(points, None, described, (image.shape[1], image.shape[0]))


def turned(degrees: float, scale: float) -> tuple[np.ndarray, np.ndarray, Matrix]:
    image = photograph("coffee", *SIZE)
    turn = np.vstack([cv2.getRotationMatrix2D((SIZE[1] / 2, SIZE[0] / 2), degrees, scale), [0, 0, 1]])
    corners = warp_points(frame_corners(*SIZE), turn)
    turn[:2, 2] -= corners.min(axis=0) + 0.5
    width, height = np.ceil(np.ptp(corners, axis=0)).astype(int).tolist()
    smooth = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.5 / scale) if scale < 1 else image, np.uint8)
    return image, warp_image(smooth, turn, (height, width), cv2.BORDER_REPLICATE), turn


def error(found: Homography, expected: Matrix) -> float:
    assert found.matrix is not None
    corners = frame_corners(*SIZE)
    return float(np.linalg.norm(warp_points(corners, found.matrix) - warp_points(corners, expected), axis=1).mean())


@pytest.mark.parametrize(("degrees", "scale"), [(100, 1.0), (-75, 1.3), (180, 0.55)])
def test_turned_and_resized_images_match(degrees: float, scale: float) -> None:
    first, second, expected = turned(degrees, scale)
    without = match_views(Copies(first, upright_sift), Copies(second, upright_sift), "none")
    assert without.homography.inliers.sum() < views.CHANCE
    found = match_views(Copies(first, upright_sift), Copies(second, upright_sift))
    assert found.view is not None
    assert found.homography.inliers.sum() > 40
    assert error(found.homography, expected) < 0.6
    # Features are in pixels of the images: the homography of the matched keypoints is the one that was found.
    pairs = found.matches.indices
    again = fit_homography(found.features0.keypoints[pairs[:, 0]], found.features1.keypoints[pairs[:, 1]])
    assert error(again, expected) < 0.6
    assert found.features0.image_size == SIZE[::-1]
    assert (found.features0.keypoints < np.array(SIZE[::-1]) - 0.5).all()
    assert (np.diff(found.matches.scores) <= 0).all()


def test_the_larger_image_may_be_the_second() -> None:
    second, first, matrix = turned(90, 0.6)
    found = match_views(Copies(first, upright_sift), Copies(second, upright_sift))
    assert error(found.homography, inverse(matrix)) < 1.5  # a pixel of the first is 1.7 of the second


def counted(calls: list[tuple[int, ...]]) -> Callable[[np.ndarray], Features]:
    def extract(image: np.ndarray) -> Features:
        calls.append(image.shape)
        return upright_sift(image)

    return extract


def test_upright_images_cost_no_search_and_copies_are_seen_once() -> None:
    first, second, _ = turned(5, 1.0)
    calls: list[tuple[int, ...]] = []
    copies = [Copies(image, counted(calls)) for image in (first, second)]
    found = match_views(copies[0], copies[1])
    assert (len(calls), found.tried, found.view) == (2, 0, None)
    searched = match_views(copies[0], copies[1], "all")
    assert searched.tried == 4 * 5
    assert len(calls) == 2 + (4 * 3 - 1) + 2 + 1  # of the first and the second; the view at the end
    assert searched.homography.inliers.sum() >= found.homography.inliers.sum()
    match_views(copies[0], copies[1], "all")
    assert len(calls) == 16 + 1


def test_a_scene_in_depth_may_be_turned() -> None:
    rng = np.random.default_rng(0)
    size, count = (300, 200), 80
    points = rng.uniform((0, 0), (150, 199), (count, 2)).astype(np.float32)
    moved = points + [1, 0] * rng.uniform(0, 149, (count, 1))  # each by its own depth: no homography
    known, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in rng.normal(size=(2, count, 64)))
    image = np.zeros(size[::-1], np.uint8)
    image[0, 0] = 255

    def extract(part: np.ndarray) -> Features:
        if part.shape == size and part[-1, 0] == 255:  # turned once; only so it looks like the second image
            return Features(np.stack([points[:, 1], 299 - points[:, 0]], axis=1), None, known, part.shape[::-1])
        return Features(points[: min(count, part.size // 500)], None, other[: part.size // 500], part.shape[::-1])

    second = Copies(image, lambda part: Features(moved, None, known, part.shape[::-1]))
    found = match_views(Copies(image, extract), second)
    assert found.view is not None
    assert len(found.matches) == count
    np.testing.assert_allclose(found.features0.keypoints, points, atol=1e-3)
    chosen = explain(*found[:3], homography=found.homography)
    assert (chosen.kind, verdict(found.features1, chosen.model)) == ("fundamental", "match")
    assert found.features0.image_size == size
    assert match_views(Copies(image, extract), second, "none").view is None


def test_turns_alone() -> None:
    first, second, expected = turned(90, 1.0)
    calls: list[tuple[int, ...]] = []
    found = match_views(Copies(first, counted(calls)), Copies(second, counted(calls)), "rotations")
    assert error(found.homography, expected) < 0.2
    assert {tuple(sorted(shape)) for shape in calls[:-1]} == {SIZE}


def test_copies_are_exact() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (48, 64), np.uint8)
    copies = Copies(image, lambda part: Features(np.zeros((0, 2)), image_size=(part.shape[1], part.shape[0])))
    for turns in range(4):
        found, matrix = copies.features(turns)
        width, height = found.image_size
        np.testing.assert_array_equal(warp_image(image, matrix, (height, width)), np.rot90(image, turns))
    _, matrix = copies.features(0, 0.5)
    np.testing.assert_allclose(matrix, resize_matrix(0.5, 0.5))


def test_unrelated_images_and_small_ones() -> None:
    first, second = photograph("coffee", *SIZE), photograph("grass", *SIZE)
    found = match_views(Copies(first, upright_sift), Copies(second, upright_sift))
    assert found.homography.inliers.sum() < 12
    one = np.zeros((1, 1), np.uint8)
    found = match_views(Copies(one, upright_sift), Copies(second, upright_sift))
    assert (len(found.matches), found.homography.matrix, found.view) == (0, None, None)


def test_a_tilted_view_is_not_stretched_beyond_its_limit() -> None:
    flat = np.array([[1.0, 0, 0], [0, 0.01, 50], [0, 0, 1]])
    matrix, (height, width) = views._into_second(flat, np.array([100.0, 100.0]), (200, 300), (400, 500))
    assert matrix[1, 1] == pytest.approx(1 / views.STRETCH)
    assert (height, width) == (50, 300)


def test_what_a_search_does_not_take() -> None:
    copies = Copies(photograph("coffee", *SIZE), upright_sift)
    with pytest.raises(UserError, match="views: found 'sideways', expected one of auto, none, rotations, all"):
        match_views(copies, copies, "sideways")
    plain = Copies(copies.image, lambda image: Features(np.zeros((0, 2))))
    with pytest.raises(UserError, match="found no descriptors"):
        match_views(plain, copies)
    assert isinstance(match_views(copies, copies).matches, Matches)
