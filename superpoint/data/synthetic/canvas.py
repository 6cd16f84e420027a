"""A grey canvas for anti-aliased shapes that keeps the labels of visible corners."""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.geometry.homography import inside

SUPERSAMPLE = 3  # drawn at so many times the target size: coverage is within 0.2 of the exact one
SHIFT = 8  # OpenCV's fixed point: 1/256 px
INFLATION = 0.66  # drawn pixels by which OpenCV's LINE_AA paints polygons too large on every side (measured)
SHARPEST = 0.07  # bounds how far the vertex of a needle (below 30 degrees) is moved
HIDDEN_MARGIN = 1.5  # target pixels between a label and a shape drawn over it, below which it is hidden

_TURNS = np.linspace(0, 2 * np.pi, 28, endpoint=False)
UNIT_CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1)


def inset(polygons: NDArray[np.floating], distance: float) -> NDArray[np.float64]:
    """Move every edge of polygons [M, N, 2], clockwise on screen, inward by `distance`."""
    # np.roll costs ten times as much on arrays this small.
    edges = np.concatenate([polygons[:, 1:], polygons[:, :1]], axis=1) - polygons
    length = np.sqrt(np.einsum("mni,mni->mn", edges, edges))[..., None]
    normals = edges[..., ::-1] * (-1.0, 1.0) / np.maximum(length, 1e-9)  # (-ey, ex): inward
    before = np.concatenate([normals[:, -1:], normals[:, :-1]], axis=1)
    cosine = np.einsum("mni,mni->mn", normals, before)[..., None]
    return polygons + distance * (normals + before) / np.maximum(1 + cosine, SHARPEST)


def _outline(polygon: NDArray[np.floating], x0: int = 0, y0: int = 0) -> NDArray[np.int32]:
    """`_fixed(inset(_drawn(polygon)))` relative to (x0, y0), in plain floats: five times as fast on few vertices."""
    vertices = [((x + 0.5) * SUPERSAMPLE - 0.5, (y + 0.5) * SUPERSAMPLE - 0.5) for x, y in polygon.tolist()]
    normals = []
    for i, (x, y) in enumerate(vertices):
        nx, ny = vertices[i + 1 - len(vertices)]
        length = max(math.hypot(nx - x, ny - y), 1e-9)
        normals.append(((y - ny) / length, (nx - x) / length))
    one = 1 << SHIFT
    fixed = []
    for i, (x, y) in enumerate(vertices):
        (ax, ay), (bx, by) = normals[i - 1], normals[i]
        reach = INFLATION / max(1 + ax * bx + ay * by, SHARPEST)
        fixed.append((round((x + reach * (ax + bx) - x0) * one), round((y + reach * (ay + by) - y0) * one)))
    return np.array(fixed, np.int32)


def clockwise(polygon: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the polygon [N, 2] with its vertices in clockwise order on screen (y down)."""
    vertices = polygon.tolist()
    area, (x0, y0) = 0.0, vertices[-1]
    for x, y in vertices:
        area += x0 * y - x * y0
        x0, y0 = x, y
    return polygon if area > 0 else polygon[::-1]


class Canvas:
    """A canvas drawn at SUPERSAMPLE times its size; all coordinates are in target pixels.

    `texture`: probability that a fill is textured. `min_contrast`: of a fill to what it covers, in grey levels.
    """

    def __init__(
        self, background: NDArray[np.uint8], rng: np.random.Generator, texture: float, min_contrast: float
    ) -> None:
        self.height, self.width = background.shape
        self.rng = rng
        self.texture = texture
        self.min_contrast = min_contrast
        size = (self.width * SUPERSAMPLE, self.height * SUPERSAMPLE)
        self._image = cv2.resize(background, size, interpolation=cv2.INTER_NEAREST)
        self._labels = np.zeros((0, 2))

    def behind(self, polygon: NDArray[np.floating]) -> tuple[float, float]:
        """Return mean and standard deviation of the canvas in the bounding box of a polygon [N, 2]."""
        x0, y0, x1, y1 = _bounds(polygon, 1)
        box = self._image[y0:y1, x0:x1]
        if box.size == 0:
            return 128.0, 0.0
        mean, deviation = cv2.meanStdDev(box)
        return float(mean[0, 0]), float(deviation[0, 0])

    def level(self, *others: float, spread: float = 0.0) -> float:
        """Draw a grey level 0..255 that differs from `others` by `min_contrast` + `spread` where possible."""
        need = min(self.min_contrast + spread, 100.0)
        best, widest = 0.0, -1.0
        for candidate in (self.rng.random(8) * 255).tolist():
            gap = min((abs(candidate - other) for other in others), default=255.0)
            if gap >= need:
                return candidate
            if gap > widest:
                best, widest = candidate, gap
        return best

    def level_over(self, polygon: NDArray[np.floating], *others: float) -> float:
        """Draw a level that stands out from what lies behind the polygon, and from `others`."""
        mean, deviation = self.behind(polygon)
        return self.level(mean, *others, spread=min(deviation, 40.0))

    def polygon(self, vertices: NDArray[np.floating], level: float) -> None:
        """Fill a simple polygon [N, 2] and drop the labels it covers."""
        vertices = clockwise(np.asarray(vertices, np.float64))
        if self.rng.random() < self.texture:
            self.textured(vertices, level)
        else:
            self._hide(vertices)
            cv2.fillPoly(self._image, [_outline(vertices)], level, cv2.LINE_AA, SHIFT)

    def textured(self, vertices: NDArray[np.floating], level: float) -> None:
        """Fill a polygon [N, 2] with a texture about `level`."""
        vertices = clockwise(vertices)
        self._hide(vertices)
        amplitude = self.rng.uniform(3, 20)

        def fill(height: int, width: int) -> NDArray[np.float32]:
            small = smooth_noise(self.rng, height // SUPERSAMPLE + 1, width // SUPERSAMPLE + 1, amplitude)
            return _enlarged(small, SUPERSAMPLE, height, width)

        self._blend(vertices, fill, level)

    def static(self, vertices: NDArray[np.floating], level: float, amplitude: float, grain: int) -> None:
        """Fill a polygon [N, 2] with Gaussian noise about `level`, in grains of `grain` pixels."""
        vertices = clockwise(np.asarray(vertices, np.float64))
        self._hide(vertices)
        step = grain * SUPERSAMPLE

        def fill(height: int, width: int) -> NDArray[np.float32]:
            coarse = self.rng.standard_normal((height // step + 1, width // step + 1), dtype=np.float32)
            coarse *= np.float32(amplitude)
            return _enlarged(coarse, step, height, width)

        self._blend(vertices, fill, level)

    def _blend(
        self, vertices: NDArray[np.floating], fill: Callable[[int, int], NDArray[np.float32]], level: float
    ) -> None:
        """Paint `level` + fill(height, width) through the anti-aliased mask of a polygon."""
        x0, y0, x1, y1 = _bounds(vertices, 3)
        box = self._image[y0:y1, x0:x1]
        if box.size == 0:
            return
        mask = np.zeros(box.shape, np.uint8)
        cv2.fillPoly(mask, [_outline(vertices, x0, y0)], 255, cv2.LINE_AA, SHIFT)
        paint = cv2.convertScaleAbs(np.maximum(fill(*box.shape) + np.float32(level), 0))
        cover = mask.astype(np.float32) * np.float32(1 / 255)
        box[:] = cv2.blendLinear(paint, box, cover, 1 - cover)

    def quads(self, quads: NDArray[np.floating], levels: NDArray[np.floating]) -> None:
        """Fill quadrilaterals [M, 4, 2], clockwise on screen, each with its level [M] (tiles of one pattern)."""
        for outline, level in zip(_fixed(inset(_drawn(quads), INFLATION)), levels, strict=True):
            cv2.fillConvexPoly(self._image, outline, float(level), cv2.LINE_AA, SHIFT)

    def line(self, start: NDArray[np.floating], end: NDArray[np.floating], width: float, level: float) -> None:
        """Draw a stroke of `width` pixels that reaches half a width beyond `start` and `end`."""
        (ax, ay), (bx, by) = np.asarray(start).tolist(), np.asarray(end).tolist()
        length = max(math.hypot(bx - ax, by - ay), 1e-9)
        ux, uy = (bx - ax) / length * (width / 2), (by - ay) / length * (width / 2)
        corners = [(ax - ux + uy, ay - uy - ux), (bx + ux + uy, by + uy - ux)]
        corners += [(bx + ux - uy, by + uy + ux), (ax - ux - uy, ay - uy + ux)]
        stroke = np.array(corners)
        self._hide(stroke)
        if width * SUPERSAMPLE > 2 * INFLATION + 0.5:
            cv2.fillConvexPoly(self._image, _outline(stroke), level, cv2.LINE_AA, SHIFT)
        else:  # thinner than an inset polygon can be: OpenCV's thin line
            first, last = _fixed(_drawn(np.array([(ax - ux, ay - uy), (bx + ux, by + uy)]))).tolist()
            cv2.line(self._image, first, last, level, 1, cv2.LINE_AA, SHIFT)

    def ellipse(self, centre: NDArray[np.floating], axes: NDArray[np.floating], angle: float, level: float) -> None:
        """Fill an ellipse with half axes [2] in pixels, turned by `angle` degrees."""
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        rim = UNIT_CIRCLE * axes @ np.array([[cosine, sine], [-sine, cosine]]) + centre
        if self.rng.random() < self.texture:
            self.textured(rim, level)
            return
        self._hide(rim)
        x, y = _fixed(_drawn(np.asarray(centre))).tolist()
        major, minor = _fixed(np.asarray(axes) * SUPERSAMPLE - INFLATION).tolist()
        cv2.ellipse(self._image, (x, y), (major, minor), angle, 0, 360, level, -1, cv2.LINE_AA, SHIFT)

    def label(self, points: NDArray[np.floating]) -> None:
        """Add interest points [N, 2]; those off the canvas are dropped."""
        points = np.asarray(points, np.float64).reshape(-1, 2)
        self._labels = np.concatenate([self._labels, points[inside(points, self.height, self.width)]])

    def _hide(self, polygon: NDArray[np.floating]) -> None:
        """Drop the labels so far that lie under the polygon [N, 2] or within HIDDEN_MARGIN of it."""
        if not len(self._labels):
            return
        low, high = polygon.min(axis=0) - HIDDEN_MARGIN, polygon.max(axis=0) + HIDDEN_MARGIN
        hidden = ((self._labels >= low) & (self._labels <= high)).all(axis=1)
        if hidden.any():
            outline = polygon.astype(np.float32).reshape(-1, 1, 2)
            for i in np.flatnonzero(hidden):
                distance = cv2.pointPolygonTest(outline, self._labels[i].tolist(), True)  # > 0 inside
                hidden[i] = distance >= -HIDDEN_MARGIN
            self._labels = self._labels[~hidden]

    def finish(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the image uint8 [H, W] and its labels float32 [N, 2]."""
        small = cv2.resize(self._image, (self.width, self.height), interpolation=cv2.INTER_AREA)
        image = np.asarray(small, np.uint8)
        labels = self._labels.astype(np.float32)
        if len(labels):
            # Textures and low contrast can swallow a corner.
            window = np.ones((5, 5), np.uint8)
            span = cv2.subtract(cv2.dilate(image, window), cv2.erode(image, window))
            column = np.clip(labels[:, 0] + 0.5, 0, self.width - 1).astype(int)
            row = np.clip(labels[:, 1] + 0.5, 0, self.height - 1).astype(int)
            labels = labels[span[row, column] >= 0.4 * self.min_contrast]
        return image, labels


def _bounds(polygon: NDArray[np.floating], margin: int) -> tuple[int, int, int, int]:
    """Bounding box x0, y0, x1, y1 (end exclusive) of a polygon [N, 2] in drawn pixels; never negative."""
    (left, top), (right, bottom) = polygon.min(axis=0).tolist(), polygon.max(axis=0).tolist()
    scale, end = SUPERSAMPLE, margin + 1
    x0, y0 = max(int(left * scale) - margin, 0), max(int(top * scale) - margin, 0)
    return x0, y0, max(int(right * scale) + end, 0), max(int(bottom * scale) + end, 0)


def _enlarged(image: NDArray[np.float32], factor: int, height: int, width: int) -> NDArray[np.float32]:
    return np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)[:height, :width]


def _drawn(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Target pixels -> drawn pixels."""
    return (np.asarray(points, np.float64) + 0.5) * SUPERSAMPLE - 0.5


def _fixed(points: NDArray[np.floating]) -> NDArray[np.int32]:
    """Drawn pixels -> OpenCV's fixed point."""
    return np.round(points * (1 << SHIFT)).astype(np.int32)


def smooth_noise(rng: np.random.Generator, height: int, width: int, amplitude: float) -> NDArray[np.float32]:
    """Draw zero-mean noise [height, width] with standard deviation near `amplitude`, coarse or fine."""
    cell = float(np.exp(rng.uniform(np.log(2.0), np.log(max(height, width, 5) / 2))))
    rows, columns = max(int(height / cell), 1) + 3, max(int(width / cell), 1) + 3
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    coarse *= amplitude * 1.4  # interpolation takes about a third of the deviation
    # Now and then oriented, like wood grain.
    if rng.random() < 0.2:
        coarse = coarse[: max(rows // 6, 2)] if rng.random() < 0.5 else coarse[:, : max(columns // 6, 2)]
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def background(rng: np.random.Generator, height: int, width: int, texture: float) -> NDArray[np.uint8]:
    """Draw a background uint8: uniform, or with probability `texture` a ramp, clouds, blobs or grain."""
    level = rng.uniform(10, 245)
    if rng.random() >= texture:
        return np.full((height, width), level, np.uint8)
    kind = rng.integers(5)
    canvas = np.full((height, width), level, np.float32)
    if kind in (0, 4):  # ramp
        angle, rise = rng.uniform(0, 2 * np.pi), rng.uniform(10, 120)
        along = np.cos(angle) * np.linspace(-0.5, 0.5, width, dtype=np.float32)
        down = np.sin(angle) * np.linspace(-0.5, 0.5, height, dtype=np.float32)
        canvas += np.float32(rise) * (along[None, :] + down[:, None])
    if kind in (1, 4):  # clouds
        canvas += smooth_noise(rng, height, width, rng.uniform(3, 22))
    if kind == 2:  # blurred blobs
        small = np.full((height // 4 + 1, width // 4 + 1), level, np.float32)
        for _ in range(int(rng.integers(3, 20))):
            centre = (int(rng.integers(small.shape[1])), int(rng.integers(small.shape[0])))
            cv2.circle(small, centre, int(rng.integers(2, 12)), float(rng.uniform(0, 255)), -1)
        blur = int(rng.integers(2, 8)) * 2 + 1
        small = cv2.blur(cv2.blur(small, (blur, blur)), (blur, blur))
        small += np.float32(level) - small.mean(dtype=np.float32)
        canvas = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    if kind == 3:  # grain
        canvas += rng.standard_normal((height, width), dtype=np.float32) * np.float32(rng.uniform(1, 12))
    return np.asarray(cv2.convertScaleAbs(np.maximum(canvas, 0)), np.uint8)
