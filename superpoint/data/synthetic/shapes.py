"""The nine primitives (DeTone et al. 2018, section 4, figure 4). Each draws into a canvas and labels its corners.

A primitive is a function (canvas, rng, region) with region = (x, y, width, height) in pixels. To add one: write it,
enter it in PRIMITIVES, give it a weight in `data.synthetic.primitives`.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.data.synthetic.canvas import UNIT_CIRCLE, Canvas, clockwise
from superpoint.geometry.homography import is_convex, warp_points

Region = tuple[float, float, float, float]
MIN_ANGLE, MAX_ANGLE = math.radians(25), math.radians(145)  # a sharper tip cannot be seen, a flatter corner is none
UNIT_QUAD = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
MIN_EDGE = 5.0  # pixels between neighbouring corners of a shape


def lines(canvas: Canvas, rng: np.random.Generator, region: Region) -> None:
    """Strokes that do not touch; labels at both ends of each."""
    x, y, w, h = region
    drawn = np.zeros((0, 2, 2))
    ends = []
    for _ in range(int(rng.integers(1, 11))):
        width = float(np.exp(rng.uniform(np.log(0.8), np.log(3.5))))
        segment = rng.random((2, 2)) * (w, h) + (x, y)
        if math.dist(segment[0], segment[1]) < max(2 * MIN_EDGE, 3 * width):
            continue
        if len(drawn) and _segment_gap(segment, drawn) < 4 + width:
            continue
        drawn = np.concatenate([drawn, segment[None]])
        canvas.line(segment[0], segment[1], width, canvas.level_over(segment))
        ends.append(segment)
    for segment in ends:
        canvas.label(segment)


def polygon(canvas: Canvas, rng: np.random.Generator, region: Region) -> None:
    """One polygon of 3 to 8 sides, convex or not; labels at its vertices."""
    _, _, w, h = region
    radius = rng.uniform(0.15, 0.6) * min(w, h)
    centre = _point(rng, region, 0.15)
    _labelled_polygon(canvas, _star_shaped(rng, centre, max(radius, 2 * MIN_EDGE)))


def multiple_polygons(canvas: Canvas, rng: np.random.Generator, region: Region) -> None:
    """Up to a dozen polygons that do not overlap; labels at their vertices."""
    _, _, w, h = region
    circles: list[tuple[NDArray[np.float64], float]] = []
    largest = rng.uniform(0.12, 0.4)
    for _ in range(int(rng.integers(4, 16))):
        centre = _point(rng, region, 0.0)
        radius = max(rng.uniform(0.08, largest) * min(w, h), 1.6 * MIN_EDGE)
        if all(math.dist(centre, c) > radius + r + 3 for c, r in circles):
            circles.append((centre, radius))
            _labelled_polygon(canvas, _star_shaped(rng, centre, radius))


def ellipses(canvas: Canvas, rng: np.random.Generator, region: Region) -> None:
    """Up to 15 ellipses that do not overlap; no labels: round outlines have no corner."""
    _, _, w, h = region
    circles: list[tuple[NDArray[np.float64], float]] = []
    for _ in range(int(rng.integers(2, 16))):
        centre = _point(rng, region, 0.0)
        first, second = ((0.03 + 0.32 * rng.random(2)) * min(w, h)).tolist()
        radius = max(first, second, 2.5)
        # Much longer than wide, the ends of an ellipse look like corners.
        axes = np.array([radius, max(min(first, second), 2.5, radius / 3)])
        if all(math.dist(centre, c) > radius + r + 2 for c, r in circles):
            circles.append((centre, radius))
            canvas.ellipse(
                centre, axes, rng.uniform(0, 180), canvas.level_over(np.array([centre - radius, centre + radius]))
            )


def star(canvas: Canvas, rng: np.random.Generator, region: Region) -> None:
    """3 to 6 strokes from one point; labels at that point and at the tips."""
    _, _, w, h = region
    count = int(rng.integers(3, 7))
    centre = _point(rng, region, 0.25)
    angles = _spread_angles(rng, count, np.deg2rad(30))
    reach = np.maximum(rng.uniform(0.2, 0.6, count) * min(w, h), 2 * MIN_EDGE)
    tips = centre + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    width = float(np.exp(rng.uniform(np.log(0.8), np.log(3.5))))
    level = canvas.level_over(tips)
    for tip in tips:
        canvas.line(centre, tip, width, level)
    canvas.label(np.concatenate([centre[None], tips]))


def checkerboard(canvas: Canvas, rng: np.random.Generator, region: Region) -> None:
    """A board of 2x2 to 8x8 tiles in perspective; labels at all grid points, the outer ones included."""
    quad = _perspective_quad(rng, region)
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    columns = int(rng.integers(2, max(3, min(9, int(min(sides[0], sides[2]) / 5.5)))))
    rows = int(rng.integers(2, max(3, min(9, int(min(sides[1], sides[3]) / 5.5)))))
    grid = _grid(quad, np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
    behind, _ = canvas.behind(quad)
    first = canvas.level(behind) if rng.random() < 0.7 else behind  # often one colour of a board is its background's
    second = canvas.level(first, behind)
    parity = np.add.outer(np.arange(rows), np.arange(columns)) % 2
    levels = np.where(parity == 0, first, second).astype(np.float64)
    # Tiles of one colour differ a little.
    jitter = rng.uniform(0, 0.35) * abs(first - second)
    levels += rng.uniform(-jitter, jitter, levels.shape)
    _pattern(canvas, quad, grid, np.clip(levels, 0, 255))
    canvas.label(grid.reshape(-1, 2))


def stripes(canvas: Canvas, rng: np.random.Generator, region: Region) -> None:
    """A quadrilateral cut into stripes of unequal width; labels at the ends of every boundary."""
    quad = _perspective_quad(rng, region)
    narrow = min(np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[2] - quad[3]))
    count = int(rng.integers(2, max(3, min(13, int(narrow / 6)))))
    least = min(5.0 / max(float(narrow), 1.0), 0.8 / count)
    widths = least + (1 - least * count) * rng.dirichlet(np.full(count, 2.0))
    grid = _grid(quad, np.concatenate([[0.0], np.cumsum(widths)]), np.array([0.0, 1.0]))
    behind, deviation = canvas.behind(quad)
    levels: list[float] = []
    for _ in range(count):
        levels.append(canvas.level(behind, *levels[-1:], spread=min(deviation, 30.0)))
    _pattern(canvas, quad, grid, np.array(levels)[None, :])
    canvas.label(grid.reshape(-1, 2))


def cube(canvas: Canvas, rng: np.random.Generator, region: Region) -> None:
    """A box in space of which three faces are seen; labels at its seven visible corners."""
    _, _, w, h = region
    while True:
        rotation = _rotation(rng)
        if min(map(abs, rotation[2].tolist())) < 0.25:  # a face seen nearly edge-on
            continue
        axes = rotation * (0.4 + 0.6 * rng.random(3))  # columns: the box's edges
        # Edges point to the eye (z > 0): the three visible faces meet at the nearest corner.
        a, b, c = (axes * np.where(axes[2] < 0, -1.0, 1.0)).T
        near = (a + b + c) / 2
        corners = np.array([near, near - a, near - b, near - c, near - a - b, near - b - c, near - c - a])
        size, eye = rng.random(2).tolist()
        size = max((0.25 + 0.45 * size) * min(w, h), 4 * MIN_EDGE)
        eye = 2.5 + 5.5 * eye  # distance of the eye in box sizes: strong to weak perspective
        seen = _point(rng, region, 0.25) + size * corners[:, :2] * eye / (eye - corners[:, 2:])
        outlines = [clockwise(seen[order]) for order in ([0, 1, 4, 2], [0, 2, 5, 3], [0, 3, 6, 1])]
        if all(_good_corners(outline) for outline in outlines):
            break
    behind, deviation = canvas.behind(seen)
    levels: list[float] = []
    for outline in outlines:
        levels.append(canvas.level(behind, *levels, spread=min(deviation, 20.0)))
        canvas.polygon(outline, levels[-1])
    canvas.label(seen)


def noise(canvas: Canvas, rng: np.random.Generator, region: Region) -> None:
    """Random grey values over the region, fine or in clumps; no labels."""
    x, y, w, h = region
    # A superellipse, so that the patch itself has no corner.
    reach = rng.uniform(0.8, 1.8)
    rim = np.sign(UNIT_CIRCLE) * np.abs(UNIT_CIRCLE) ** 0.6 * (reach * w / 2, reach * h / 2) + (x + w / 2, y + h / 2)
    canvas.static(rim, rng.uniform(40, 215), rng.uniform(15, 80), int(rng.integers(1, 4)))


PRIMITIVES: dict[str, Callable[[Canvas, np.random.Generator, Region], None]] = {
    "lines": lines,
    "polygon": polygon,
    "multiple_polygons": multiple_polygons,
    "ellipses": ellipses,
    "star": star,
    "checkerboard": checkerboard,
    "stripes": stripes,
    "cube": cube,
    "noise": noise,
}


def _point(rng: np.random.Generator, region: Region, margin: float) -> NDArray[np.float64]:
    """A point [2] of the region, at least `margin` of its sides away from its outline."""
    x, y, w, h = region
    u, v = (rng.random(2) * (1 - 2 * margin) + margin).tolist()
    return np.array([x + u * w, y + v * h])


def _spread_angles(rng: np.random.Generator, count: int, least: float) -> NDArray[np.float64]:
    """Increasing angles round the circle, neighbours at least `least` radians apart."""
    gaps = rng.standard_exponential(count) + 0.3
    gaps *= (2 * math.pi - least * count) / gaps.sum()
    return (gaps + least).cumsum() + 2 * math.pi * rng.random()


def _star_shaped(rng: np.random.Generator, centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """A simple polygon [N, 2] around `centre`, N in 3..8, whose corners are all clear ones."""
    # Many corners are clear only on a large outline.
    for attempt in range(20):
        count = int(rng.integers(3, 9 if attempt < 6 else 5))
        angles = _spread_angles(rng, count, math.radians(15))
        radii = radius * (0.4 + 0.6 * rng.random(count) if rng.random() < 0.6 else np.ones(count))
        shape = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        if _good_corners(shape):
            return shape
    return np.zeros((0, 2))


def _good_corners(shape: NDArray[np.floating]) -> bool:
    """Whether no corner of a polygon [N, 2] is flat, needle-sharp or near another."""
    # Plain floats are faster than numpy for so few corners.
    vertices = shape.tolist()
    count = len(vertices)
    for i, (x, y) in enumerate(vertices):
        (px, py), (nx, ny) = vertices[i - 1], vertices[i + 1 - count]
        ax, ay, bx, by = px - x, py - y, nx - x, ny - y
        angle = abs(math.atan2(ax * by - ay * bx, ax * bx + ay * by))
        if not MIN_ANGLE <= angle <= MAX_ANGLE:
            return False
        if any((x - qx) ** 2 + (y - qy) ** 2 < MIN_EDGE**2 for qx, qy in vertices[:i]):
            return False
    return True


def _labelled_polygon(canvas: Canvas, shape: NDArray[np.float64]) -> None:
    if len(shape):
        canvas.polygon(shape, canvas.level_over(shape))
        canvas.label(shape)


def _perspective_quad(rng: np.random.Generator, region: Region) -> NDArray[np.float64]:
    """A convex quadrilateral [4, 2], clockwise: the region scaled, distorted, turned and moved."""
    x, y, w, h = region
    centre = np.array([x + w / 2, y + h / 2])
    while True:
        corners = UNIT_QUAD * (0.45 + 0.65 * rng.random(2)) + (0.3 * rng.random((4, 2)) - 0.15)
        angle = rng.uniform(-math.pi, math.pi) if rng.random() < 0.7 else rng.normal(0, 0.1)
        cosine, sine = math.cos(angle), math.sin(angle)
        corners = corners * (w, h) @ np.array([[cosine, sine], [-sine, cosine]])
        corners = corners + centre + (0.3 * rng.random(2) - 0.15) * (w, h)
        if is_convex(corners, min_area=0.05 * w * h) and _good_corners(corners):
            return corners


def _grid(quad: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [len(v), len(u), 2] of the quadrilateral at unit-square coordinates u (along) and v (down)."""
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    h_unit_quad = np.asarray(cv2.getPerspectiveTransform(unit, quad.astype(np.float32)), np.float64)
    square = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    return warp_points(square, h_unit_quad).astype(np.float64).reshape(len(v), len(u), 2)


def _pattern(canvas: Canvas, quad: NDArray[np.float64], grid: NDArray[np.float64], levels: NDArray[np.float64]) -> None:
    """Fill the tiles between grid points [R + 1, C + 1, 2] with levels [R, C]."""
    canvas.polygon(quad, float(levels.mean()))  # under the seams of the tiles
    tiles = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=2)
    canvas.quads(tiles.reshape(-1, 4, 2), levels.reshape(-1))


def _rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A random rotation [3, 3], uniform over all, from a random unit quaternion."""
    a, b, c, d = rng.standard_normal(4).tolist()
    norm = 2 / (a * a + b * b + c * c + d * d)
    return np.array(
        [
            [1 - norm * (c * c + d * d), norm * (b * c - a * d), norm * (b * d + a * c)],
            [norm * (b * c + a * d), 1 - norm * (b * b + d * d), norm * (c * d - a * b)],
            [norm * (b * d - a * c), norm * (c * d + a * b), 1 - norm * (b * b + c * c)],
        ]
    )


def _segment_gap(segment: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Least distance between a segment [2, 2] and others [N, 2, 2]; 0 where they cross."""
    a, b = segment
    c, d = others[:, 0], others[:, 1]
    crosses = (_side(a, b, c) * _side(a, b, d) < 0) & (_side(c, d, a) * _side(c, d, b) < 0)
    if crosses.any():
        return 0.0
    ends = _point_segment(segment, others)
    back = _point_segment(others.reshape(-1, 2), segment[None])
    return float(min(ends.min(), back.min()))


def _side(p: NDArray[np.float64], q: NDArray[np.float64], r: NDArray[np.float64]) -> NDArray[np.float64]:
    """On which side of the line p -> q the points r lie: positive, negative or 0."""
    return (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])


def _point_segment(points: NDArray[np.float64], segments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances [P, N] of points [P, 2] from segments [N, 2, 2]."""
    start = segments[:, 0]
    along = segments[:, 1] - start
    offset = points[:, None] - start
    share = np.clip(np.einsum("pni,ni->pn", offset, along) / np.einsum("ni,ni->n", along, along), 0, 1)
    gap = share[..., None] * along - offset
    return np.sqrt(np.einsum("pni,pni->pn", gap, gap))
