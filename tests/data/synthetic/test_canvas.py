import cv2
import numpy as np
import pytest

from superpoint.data.synthetic.canvas import INFLATION, Canvas, _drawn, _fixed, _outline, clockwise, inset
from superpoint.geometry.homography import resize_points


def blank(level: int = 40, height: int = 60, width: int = 80) -> Canvas:
    return Canvas(np.full((height, width), level, np.uint8), np.random.default_rng(0), texture=0.0, min_contrast=25)


def exact_coverage(polygon: np.ndarray, height: int, width: int, samples: int = 16) -> np.ndarray:
    """Share of each pixel inside the polygon, by even-odd tests on a grid of samples."""
    y, x = np.mgrid[: height * samples, : width * samples]
    x, y = (x + 0.5) / samples - 0.5, (y + 0.5) / samples - 0.5
    covered = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            covered ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return covered.reshape(height, samples, width, samples).mean(axis=(1, 3))


def random_quad(rng: np.random.Generator, centre: tuple[float, float] = (40, 30), radius: float = 20) -> np.ndarray:
    angles = np.pi / 2 * (np.arange(4) + rng.uniform(-0.25, 0.25, 4)) + rng.uniform(0, 1.5)
    return np.array(centre) + rng.random(2) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def drawn_corner(image: np.ndarray, corner: np.ndarray, inwards: list[np.ndarray], reach: float) -> np.ndarray:
    """Corner seen in an image of one bright convex quad: its edges, fitted to the 50 % crossings, intersected."""
    low, high = float(image.min()), float(image.max())
    lines = []
    for along in inwards:  # unit vectors along the two edges, away from the corner
        across = np.array([-along[1], along[0]])
        crossings = []
        for distance in np.linspace(3, reach, 60):
            offsets = np.linspace(-2, 2, 81)
            places = (corner + distance * along)[None] + offsets[:, None] * across
            x, y = places.astype(np.float32).T
            values = cv2.remap(image.astype(np.float32), x[None], y[None], cv2.INTER_LINEAR)[0]
            # The area under the profile says where a blurred step lies, whatever the blur.
            bright = (values - low).sum() / (high - low) * (offsets[1] - offsets[0])
            inward = 1 if values[-1] > values[0] else -1
            crossings.append(distance * along + inward * (2.025 - bright) * across)
        points = np.array(crossings)
        mean = points.mean(axis=0)
        direction = np.linalg.svd(points - mean)[2][0]
        lines.append((mean, np.array([-direction[1], direction[0]])))
    normals = np.array([normal for _, normal in lines])
    return corner + np.linalg.solve(normals, np.array([normal @ mean for mean, normal in lines]))


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0, 1.6])
def test_drawn_corner_and_label_agree_after_any_resize(scale: float) -> None:
    height, width = 120, 160
    errors = []
    for seed in range(25):
        canvas = blank(40, height, width)
        quad = random_quad(np.random.default_rng(seed), (80, 60), 45)
        canvas.polygon(quad, 220)
        canvas.label(quad)
        image, labels = canvas.finish()
        np.testing.assert_allclose(labels, quad, atol=1e-4)
        size = (round(width * scale), round(height * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = cv2.resize(image, size, interpolation=method)
        factors = (size[0] / width, size[1] / height)
        moved, corners = resize_points(labels, *factors), resize_points(quad, *factors)
        for i, label in enumerate(moved):
            directions = [corners[i - 1] - corners[i], corners[i - 3] - corners[i]]
            reach = min(np.linalg.norm(direction) for direction in directions) - 4
            seen = drawn_corner(resized, label.astype(float), [d / np.linalg.norm(d) for d in directions], reach)
            errors.append(seen - label)
    errors = np.array(errors) / scale  # in pixels of the drawn image
    distance = np.linalg.norm(errors, axis=1)
    assert np.percentile(distance, 95) <= 0.25
    assert distance.max() <= 0.3
    assert distance.mean() <= 0.12
    assert np.abs(errors.mean(axis=0)).max() <= 0.04  # no common shift


@pytest.mark.parametrize("sides", [3, 4, 6])
def test_coverage_is_near_the_exact_one_and_unbiased(sides: int) -> None:
    rng = np.random.default_rng(sides)
    bias, worst = [], []
    for _ in range(10):
        angles = 2 * np.pi * (np.arange(sides) + rng.uniform(-0.2, 0.2, sides)) / sides
        polygon = np.array([40.3, 29.6]) + rng.random(2) + 18 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        canvas = blank(0)
        canvas.polygon(polygon, 255)
        error = canvas.finish()[0] / 255 - exact_coverage(polygon, 60, 80)
        perimeter = np.linalg.norm(np.roll(polygon, -1, axis=0) - polygon, axis=1).sum()
        bias.append(error.sum() / perimeter)
        worst.append(np.abs(error).max())
    assert abs(np.mean(bias)) < 0.06  # px by which outlines lie too far out
    assert max(worst) < 0.4


def test_line_is_centred_on_its_ends_and_as_wide_as_asked() -> None:
    for width in (1.0, 1.5, 3.0):
        canvas = blank(0)
        canvas.line(np.array([20.3, 30.4]), np.array([60.7, 30.4]), width, 255)
        image, _ = canvas.finish()
        profile = image[:, 30:50].mean(axis=1) / 255
        assert (profile * np.arange(60)).sum() / profile.sum() == pytest.approx(30.4, abs=0.1)
        assert profile.sum() == pytest.approx(width, abs=0.45)
        along = image[28:34].sum(axis=0) / image[28:34, 30:50].sum(axis=0).mean()
        assert along.sum() == pytest.approx(60.7 - 20.3 + width, abs=1.0)


def test_outline_in_plain_floats_equals_inset() -> None:
    quad = random_quad(np.random.default_rng(4))
    np.testing.assert_allclose(_outline(quad), _fixed(inset(_drawn(quad)[None], INFLATION))[0], atol=1)


def test_inset_and_clockwise_of_a_square() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], float)
    np.testing.assert_allclose(inset(square[None], 1.0)[0], [[1, 1], [9, 1], [9, 9], [1, 9]])
    np.testing.assert_array_equal(clockwise(square), square)
    np.testing.assert_array_equal(clockwise(square[::-1]), square)


def with_square(left: float, level: int = 200, background: int = 40) -> Canvas:
    canvas = blank(background)
    corners = np.array([[left, 20], [left + 20, 20], [left + 20, 40], [left, 40]])
    canvas.polygon(corners, level)
    canvas.label(corners)
    return canvas


def labels_of(canvas: Canvas) -> list[tuple[float, float]]:
    return sorted(map(tuple, canvas.finish()[1].tolist()))


def test_labels_that_cannot_be_seen_are_dropped() -> None:
    canvas = with_square(20)
    canvas.polygon(np.array([[35.0, 35], [60, 35], [60, 55], [35, 55]]), 120)
    assert labels_of(canvas) == [(20, 20), (20, 40), (40, 20)]
    canvas = with_square(20)
    canvas.line(np.array([10.0, 20]), np.array([70.0, 20]), 3.0, 120)
    assert labels_of(canvas) == [(20, 40), (40, 40)]
    assert labels_of(with_square(65)) == [(65, 20), (65, 40)]  # half of it off the canvas
    assert labels_of(with_square(30, 102, 100)) == []


def test_level_keeps_its_distance_where_it_can() -> None:
    canvas = blank()
    assert all(abs(canvas.level(100.0) - 100) >= 25 for _ in range(200))
    crowded = [canvas.level(*np.linspace(0, 255, 12).tolist()) for _ in range(20)]
    assert all(0 <= level <= 255 for level in crowded)
