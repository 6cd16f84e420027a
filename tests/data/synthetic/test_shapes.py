import cv2
import numpy as np
import pytest

from superpoint.data.synthetic.canvas import Canvas
from superpoint.data.synthetic.shapes import (
    MAX_ANGLE,
    MIN_ANGLE,
    PRIMITIVES,
    _good_corners,
    _rotation,
    _segment_gap,
    _star_shaped,
)

LABELLED = ["lines", "polygon", "multiple_polygons", "star", "checkerboard", "stripes", "cube"]


def draw(name: str, seed: int, height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    canvas = Canvas(np.full((height, width), 128, np.uint8), rng, texture=0.0, min_contrast=40)
    PRIMITIVES[name](canvas, rng, (0.0, 0.0, float(width), float(height)))
    return canvas.finish()


def test_the_nine_primitives_of_the_paper_are_there() -> None:
    assert set(PRIMITIVES) == {*LABELLED, "ellipses", "noise"}


@pytest.mark.parametrize("name", LABELLED)
def test_labels_sit_on_corners_that_can_be_seen(name: str) -> None:
    strong, total, counts = 0, 0, []
    for seed in range(15):
        image, labels = draw(name, seed)
        counts.append(len(labels))
        response = cv2.cornerMinEigenVal(image, 7, ksize=3)
        typical = np.percentile(response, 90)
        for x, y in np.floor(labels + 0.5).astype(int):
            window = response[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            strong += bool(window.size and window.max() > max(typical, 1e-5))
            total += 1
    assert min(counts) >= 1
    assert strong / total > 0.9


@pytest.mark.parametrize("name", ["ellipses", "noise"])
def test_round_shapes_and_noise_have_no_labels_but_show(name: str) -> None:
    for seed in range(5):
        image, labels = draw(name, seed)
        assert len(labels) == 0
        assert image.std() > 2


@pytest.mark.parametrize("size", [(120, 160), (48, 48), (240, 320), (16, 200)])
@pytest.mark.parametrize("name", list(PRIMITIVES))
def test_any_size(name: str, size: tuple[int, int]) -> None:
    image, labels = draw(name, 3, *size)
    assert image.shape == size
    assert image.dtype == np.uint8
    assert labels.dtype == np.float32
    assert ((labels >= -0.5) & (labels < (size[1] - 0.5, size[0] - 0.5))).all()


def test_checkerboard_labels_are_its_grid() -> None:
    counts = {len(draw("checkerboard", seed, 400, 400)[1]) for seed in range(30)}
    products = {(rows + 1) * (columns + 1) for rows in range(2, 9) for columns in range(2, 9)}
    assert counts & products  # at least some boards lie wholly inside
    assert max(counts) >= 40


def test_cube_has_seven_corners_when_wholly_inside() -> None:
    counts = [len(draw("cube", seed)[1]) for seed in range(30)]
    assert max(counts) == 7
    assert np.median(counts) >= 6


def test_good_corners() -> None:
    square = np.array([[0, 0], [20, 0], [20, 20], [0, 20]], float)
    assert _good_corners(square)
    assert not _good_corners(square * 0.2)  # crowded
    assert not _good_corners(np.insert(square, 1, [10, -0.5], axis=0))  # flat
    assert not _good_corners(np.array([[0, 0], [40, 3], [40, -3]], float))  # a needle


def test_random_polygons_are_simple_and_clear() -> None:
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(200):
        shape = _star_shaped(rng, np.array([50.0, 50.0]), 30.0)
        sizes.add(len(shape))
        if not len(shape):
            continue
        back, ahead = np.roll(shape, 1, axis=0) - shape, np.roll(shape, -1, axis=0) - shape
        cosine = (back * ahead).sum(axis=1) / np.linalg.norm(back, axis=1) / np.linalg.norm(ahead, axis=1)
        angles = np.arccos(np.clip(cosine, -1, 1))
        assert angles.min() >= MIN_ANGLE - 1e-6
        assert angles.max() <= MAX_ANGLE + 1e-6
    assert {3, 4, 5, 6} <= sizes


def test_rotations_are_rotations_and_uniform() -> None:
    rng = np.random.default_rng(0)
    matrices = np.array([_rotation(rng) for _ in range(2000)])
    np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), np.tile(np.eye(3), (2000, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-9)
    np.testing.assert_allclose(matrices.mean(axis=0), np.zeros((3, 3)), atol=0.06)
    np.testing.assert_allclose((matrices**2).mean(axis=0), np.full((3, 3), 1 / 3), atol=0.04)


def test_gap_between_segments() -> None:
    segment = np.array([[0.0, 0], [10, 0]])
    assert _segment_gap(segment, np.array([[[5.0, -5], [5, 5]]])) == 0.0
    assert _segment_gap(segment, np.array([[[0.0, 3], [10, 3]]])) == pytest.approx(3)
    assert _segment_gap(segment, np.array([[[13.0, 4], [20, 4]], [[0, 30], [5, 30]]])) == pytest.approx(5)
