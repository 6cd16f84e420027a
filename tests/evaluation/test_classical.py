import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from superpoint.errors import UserError
from superpoint.evaluation.classical import CLASSICAL, REFINE_LIMIT, classical_detector, refine_corners, suppress

SAMPLES = 16  # sub-samples along each side of a pixel


def wedges(corner: NDArray[np.float64], start: float, angle: float, count: int = 1) -> NDArray[np.uint8]:
    """uint8 [64, 64]: `count` bright wedges of `angle` radians about `corner`, each pixel the mean over its square."""
    axis = (np.arange(64 * SAMPLES) + 0.5) / SAMPLES - 0.5  # of the sub-samples, pixel centres at integers
    x, y = axis[None, :] - corner[0], axis[:, None] - corner[1]
    period = 2 * np.pi / count
    bright = ((np.arctan2(y, x) - start) % period < angle).astype(np.float64)
    return np.rint(60 + 140 * bright.reshape(64, SAMPLES, 64, SAMPLES).mean(axis=(1, 3))).astype(np.uint8)


def corner_errors(name: str, angle: float, count: int = 1) -> NDArray[np.float64]:
    """Distance from a corner at random sub-pixel places and directions to the nearest detection."""
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(12):
        corner = 31.5 + rng.uniform(-0.5, 0.5, 2)
        image = wedges(corner, rng.uniform(0, 2 * np.pi), np.radians(angle), count)
        points = classical_detector(name)(image).keypoints
        errors.append(np.hypot(*(points - corner).T).min() if len(points) else np.inf)
    return np.array(errors)


@pytest.mark.parametrize("name", ["harris", "shi", "fast"])
@pytest.mark.parametrize("angle", [60, 90, 120])
def test_corners_are_found_within_half_a_pixel(name: str, angle: float):
    errors = corner_errors(name, angle)
    assert np.median(errors) < 0.3
    assert (errors < 0.5).mean() >= 0.9


@pytest.mark.parametrize("name", ["harris", "shi"])
def test_crossings_are_found_within_a_quarter_pixel(name: str):
    assert corner_errors(name, 90, count=2).max() < 0.25


@pytest.mark.parametrize("name", CLASSICAL)
def test_no_half_pixel_shift(name: str):
    """The image turned by 180 degrees has the turned points; a shift s of the convention would show as 2s."""
    image = np.ascontiguousarray(data.camera()[100:357, 120:409])
    detect = classical_detector(name)
    points = detect(image).keypoints
    turned = detect(np.ascontiguousarray(image[::-1, ::-1])).keypoints
    back = np.array([image.shape[1] - 1, image.shape[0] - 1]) - turned
    apart = np.hypot(*(points[:, None] - back[None]).transpose(2, 0, 1))
    assert len(points) > 100
    near = apart.min(axis=1) < 0.75
    assert near.mean() > 0.9
    assert np.abs((points - back[apart.argmin(axis=1)])[near].mean(axis=0)).max() < 0.02


def test_fast_scores_are_opencvs():
    image = np.ascontiguousarray(data.camera()[:128, 128:256])
    points, scores = CLASSICAL["fast"](image)
    ours = {(x, y): score for (x, y), score in zip(points.tolist(), scores.tolist(), strict=True)}
    theirs = cv2.FastFeatureDetector.create(10).detect(image)
    assert len(theirs) > 50
    assert all(ours[key.pt[0], key.pt[1]] == key.response for key in theirs)


def test_fast_finds_right_angles_that_opencvs_suppression_misses():
    image = np.full((64, 64), 60, np.uint8)
    image[32:, 32:] = 200
    assert not cv2.FastFeatureDetector.create(10).detect(image)  # the reason; if this fails, ours can go
    points = classical_detector("fast")(image).keypoints
    assert len(points) == 1
    assert np.hypot(*(points[0] - 31.5)) < 0.5


@pytest.mark.parametrize("name", CLASSICAL)
def test_output_form(name: str):
    found = classical_detector(name)(data.camera()[100:220, 100:260])  # a view: not contiguous
    assert len(found) > 10
    assert (np.diff(found.scores) <= 0).all()
    assert (found.keypoints >= 0).all()
    assert (found.keypoints <= [159, 119]).all()
    assert (found.descriptors, found.image_size) == (None, (160, 120))


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (60, 2), (7, 7), (8, 40), (11, 11), (16, 17)])
@pytest.mark.parametrize("fill", ["flat", "noise"])
def test_any_size_is_accepted(name: str, shape: tuple[int, int], fill: str):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, shape, np.uint8) if fill == "noise" else np.full(shape, 130, np.uint8)
    points = classical_detector(name)(image).keypoints
    assert (points >= 0).all()
    assert (points <= [shape[1] - 1, shape[0] - 1]).all()
    assert fill == "noise" or not len(points)


def test_other_images_and_names_are_refused():
    for image in (np.zeros((8, 8), np.float32), np.zeros((8, 8, 3), np.uint8)):
        with pytest.raises(ValueError, match="expected uint8"):
            classical_detector("fast")(image)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="detector: found 'akaze', expected one of fast, harris"):
        classical_detector("akaze")


def test_score_is_proportional_to_contrast():
    image = wedges(np.array([31.5, 31.5]), 0.3, np.pi / 2)
    faint = np.rint(60 + (image.astype(float) - 60) / 4).astype(np.uint8)
    for name in ("harris", "shi"):
        strong, weak = (classical_detector(name)(picture).scores[0] for picture in (image, faint))
        assert strong / weak == pytest.approx(4, rel=0.05)


def test_border_and_max_points():
    image = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
    everything = classical_detector("harris")(image).keypoints
    inner = classical_detector("harris", border=10)(image).keypoints
    kept = ((everything >= 10) & (everything <= [69, 49])).all(axis=1)
    assert 0 < len(inner) < len(everything)
    np.testing.assert_array_equal(inner, everything[kept])
    few = classical_detector("harris", max_keypoints=7)(image).keypoints
    assert len(few) == 7
    np.testing.assert_array_equal(few, everything[:7])


def naive_suppress(points: NDArray[np.float32], scores: NDArray[np.float32], radius: int) -> list[int]:
    pixels, left, kept = np.rint(points).astype(int), list(np.argsort(-scores, kind="stable")), []
    while left:
        kept.append(left[0])
        left = [i for i in left if np.abs(pixels[i] - pixels[left[0]]).max() > radius]
    return kept


@pytest.mark.parametrize("radius", [0, 1, 4])
def test_suppression_agrees_with_a_naive_one(radius: int):
    rng = np.random.default_rng(radius)
    points = rng.uniform(-0.4, 40, (300, 2)).astype(np.float32)
    scores = rng.integers(0, 50, 300).astype(np.float32)  # with ties
    kept = naive_suppress(points, scores, radius)
    found, values = suppress(points, scores, radius)
    np.testing.assert_array_equal(found, points[kept])
    np.testing.assert_array_equal(values, scores[kept])


def test_refinement_never_runs_away():
    rng = np.random.default_rng(0)
    image, points = rng.integers(0, 256, (64, 64), np.uint8), rng.uniform(0, 63, (200, 2)).astype(np.float32)
    before = points.copy()
    moved = np.abs(refine_corners(image, points) - points).max(axis=1)
    assert (moved > 0.1).any()
    assert moved.max() <= REFINE_LIMIT + 1e-5
    np.testing.assert_array_equal(points, before)
