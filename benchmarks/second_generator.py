"""Corners in the drawings of a second generator, which shares nothing with the one that networks are trained on.

    python benchmarks/second_generator.py --model magicpoint --model runs/lite [--seed 1 --sheet sheet.png]

The nine primitives of DeTone et al. 2018 (section 4), as the literature describes them: drawn without anti-aliasing at
960x1280 on a soft background of blurred discs, blurred by 21 px, reduced eight times to 120x160. Noisy: brightness,
contrast, Gaussian noise up to a deviation of 15, speckle, shade and motion blur, all on every image, in any order.
Ground truth is what was drawn, seen or not. Recipes are selected by seed 1 and reported by seed 2; no training sees
either. FAST, Harris and Shi-Tomasi run beside (published mean AP at 4 px, noisy: .082, .254, .123).
"""

import argparse
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from superpoint.evaluation.classical import classical_detector
from superpoint.evaluation.synthetic import DECODE, Detect, Sample, evaluate_synthetic, primitive_table, summary_table
from superpoint.geometry.homography import inside, resize_points
from superpoint.models import load_network
from superpoint.models.extract import features
from superpoint.visualize import contact_sheet, draw_keypoints, save_image

Rng = np.random.Generator
Image = NDArray[np.uint8]
Points = NDArray[np.float64]  # [N, 2] (x, y)

HEIGHT, WIDTH, REDUCED = 960, 1280, 8  # pixels drawn; so many of them to a pixel of the image
SIZE = HEIGHT // REDUCED, WIDTH // REDUCED
BLUR = 21  # pixels drawn, side of the Gaussian kernel
CONTRAST = 30  # grey levels between a shape and the mean of its background


def contrasting(rng: Rng, *others: float) -> int:
    """A grey level CONTRAST away from all others, if twenty draws find one."""
    for level in rng.integers(0, 256, 20).tolist():
        if all(abs(level - other) >= CONTRAST for other in others):
            return level
    return int(rng.integers(256))


def shading(rng: Rng, image: Image, level: int, discs: int, radii: tuple[int, int], kernel: tuple[int, int]) -> Image:
    """An image like `image`: discs of other levels strewn over `level`, blurred by a box until only shading is left."""
    height, width = image.shape
    image = np.full_like(image, level)
    for x, y, radius in rng.integers((0, 0, radii[0]), (width, height, radii[1]), (discs, 3)).tolist():
        cv2.circle(image, (x, y), radius, contrasting(rng, level), -1)
    side = int(rng.integers(*kernel))
    return np.asarray(cv2.blur(image, (side, side)), np.uint8)


def claim(taken: Image, outline: Points) -> bool:
    """Enter a shape and a pixel round it into the reduced map of places taken; return whether they were free."""
    cells = [whole(outline / REDUCED)]
    stamp = np.asarray(cv2.polylines(cv2.fillPoly(np.zeros_like(taken), cells, 1), cells, True, 1, 4), bool)
    free = not taken[stamp].any()
    taken[stamp] = 1
    return free


def whole(points: Points) -> NDArray[np.int32]:
    return np.round(points).astype(np.int32)


def anywhere(rng: Rng, count: int, margin: float = 0.0) -> Points:
    return rng.uniform(margin, 1 - margin, (count, 2)) * (WIDTH, HEIGHT)


def directions(rng: Rng, count: int) -> Points:
    """Unit vectors round the circle, in order, unevenly spaced."""
    angles = 2 * np.pi * ((np.arange(count) + rng.random(count) * 0.8) / count + rng.random())
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def lines(rng: Rng, image: Image) -> Points:
    taken, drawn, mean = np.zeros(SIZE, np.uint8), [], image.mean()
    for _ in range(rng.integers(1, 11)):
        ends = anywhere(rng, 2)
        if np.linalg.norm(ends[1] - ends[0]) > 0.1 * HEIGHT and claim(taken, ends):
            start, end = whole(ends).tolist()
            cv2.line(image, start, end, contrasting(rng, mean), int(rng.uniform(0.01, 0.02) * HEIGHT))
            drawn.append(ends)
    return np.concatenate(drawn) if drawn else np.zeros((0, 2))


def outline(rng: Rng) -> Points:
    """Corners of 3 to 8 sides about a centre, those flatter than 120 degrees or nearly coincident left out."""
    centre, radius = anywhere(rng, 1), max(rng.random() * HEIGHT / 2, HEIGHT / 10)
    while True:
        rays = directions(rng, int(rng.integers(3, 9)))
        corners = centre + radius * rng.uniform(0.2, 1.0, (len(rays), 1)) * rays
        back, ahead = np.roll(corners, 1, axis=0) - corners, np.roll(corners, -1, axis=0) - corners
        lengths = np.linalg.norm(back, axis=1), np.linalg.norm(ahead, axis=1)
        cosine = (back * ahead).sum(axis=1) / np.maximum(lengths[0] * lengths[1], 1e-9)
        corners = corners[(cosine > -0.5) & (lengths[0] > 0.04 * HEIGHT)]
        if len(corners) >= 3:
            return corners


def polygon(rng: Rng, image: Image) -> Points:
    corners = outline(rng)
    cv2.fillPoly(image, [whole(corners)], contrasting(rng, image.mean()))
    return corners


def multiple_polygons(rng: Rng, image: Image) -> Points:
    taken, drawn, mean = np.zeros(SIZE, np.uint8), [], image.mean()
    for _ in range(30):
        corners = outline(rng)
        (x, y), (right, below) = whole(corners).min(axis=0).clip(0).tolist(), whole(corners).max(axis=0).tolist()
        box = image[y : below + 1, x : right + 1]
        if box.size and claim(taken, corners):
            drawn.append(corners)
            mask = cv2.fillPoly(np.zeros_like(box), [whole(corners)], 1, offset=(-x, -y))
            discs = 3000 * box.size // image.size
            box[:] = np.where(mask, shading(rng, box, contrasting(rng, mean), discs, (1, 20), (50, 100)), box)
    return np.concatenate(drawn)


def ellipses(rng: Rng, image: Image) -> Points:
    taken, mean = np.zeros(SIZE, np.uint8), image.mean()
    for _ in range(20):
        x, y = whole(anywhere(rng, 1))[0].tolist()
        axes = (np.maximum(rng.random(2), 0.1) * HEIGHT / 5).astype(int).tolist()
        angle = int(rng.integers(180))
        if claim(taken, np.array(cv2.ellipse2Poly((x, y), axes, angle, 0, 360, 10), np.float64)):
            cv2.ellipse(image, (x, y), axes, angle, 0, 360, contrasting(rng, mean), -1)
    return np.zeros((0, 2))


def star(rng: Rng, image: Image) -> Points:
    mean, thickness = image.mean(), int(rng.uniform(0.01, 0.025) * HEIGHT)
    centre, rays = anywhere(rng, 1, 0.25), directions(rng, int(rng.integers(3, 7)))
    tips = centre + np.maximum(rng.random((len(rays), 1)), 0.3) * HEIGHT / 2 * rays
    for tip in whole(tips).tolist():
        cv2.line(image, whole(centre)[0].tolist(), tip, contrasting(rng, mean), thickness)
    return np.concatenate([centre, tips])


def board(rng: Rng, image: Image, columns: Points, rows: Points) -> Points:
    """Tiles between columns and rows (0..1), each unlike its neighbours, in perspective, some edges drawn over."""
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    frame = np.array([WIDTH, HEIGHT], np.float32)
    triangle = np.array([[0.5, 0.17], [0.25, 0.67], [0.75, 0.67]], np.float32) * frame
    while True:
        reach = rng.uniform(0.05, 0.2) * WIDTH
        affine = cv2.getAffineTransform(triangle, triangle + rng.uniform(-reach, reach, (3, 2)).astype(np.float32))
        quad = (unit * frame) @ affine[:, :2].T + affine[:, 2]
        quad = (quad + rng.normal(0, reach / 4, (4, 2))).astype(np.float32)
        if cv2.isContourConvex(quad) and cv2.contourArea(quad) > 0.2 * WIDTH * HEIGHT:
            break
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 1, 2)
    points = np.asarray(cv2.perspectiveTransform(grid, cv2.getPerspectiveTransform(unit, quad)), np.float64)
    corners = whole(points).reshape(len(rows), -1, 2)
    levels = np.zeros((len(rows) - 1, len(columns) - 1), int)
    for i, j in np.ndindex(*levels.shape):
        beside = [levels[i - 1, j]] * (i > 0) + [levels[i, j - 1]] * (j > 0)
        levels[i, j] = contrasting(rng, *(beside or [image.mean()]))
        tile = np.array([corners[i, j], corners[i, j + 1], corners[i + 1, j + 1], corners[i + 1, j]])
        cv2.fillConvexPoly(image, tile, int(levels[i, j]))
    thickness, ink = int(rng.uniform(0.005, 0.012) * HEIGHT), contrasting(rng, image.mean())
    for edges in (corners, corners.swapaxes(0, 1)):
        for edge in edges[rng.random(len(edges)) < 0.4]:
            first, last = sorted(rng.choice(len(edge), 2, replace=False).tolist())
            cv2.line(image, edge[first].tolist(), edge[last].tolist(), ink, thickness)
    return points.reshape(-1, 2)


def checkerboard(rng: Rng, image: Image) -> Points:
    return board(rng, image, *(np.linspace(0, 1, n) for n in rng.integers(4, 9, 2)))


def stripes(rng: Rng, image: Image) -> Points:
    cuts = np.sort(rng.random(rng.integers(4, 13)))
    columns = np.concatenate([[0.0], cuts, [1.0]])
    return board(rng, image, columns[np.append(np.diff(columns) > 0.04, True)], np.array([0.0, 1.0]))


def cube(rng: Rng, image: Image) -> Points:
    edges = cv2.Rodrigues(rng.uniform(0.1, 0.4, 3) * np.pi)[0] * rng.uniform(0.2, 0.6, 3) * HEIGHT  # columns
    a, b, c = (edges * np.where(edges[2] < 0, -1, 1))[:2].T  # towards the eye: the faces meet at the nearest corner
    near = anywhere(rng, 1, 0.3)[0] + (a + b + c) / 2
    levels = [float(image.mean())]
    faces = [np.array([near, near - p, near - p - q, near - q]) for p, q in ((a, b), (b, c), (c, a))]
    for face in faces:
        levels.append(contrasting(rng, *levels))
        cv2.fillConvexPoly(image, whole(face), int(levels[-1]))
    ink, thickness = contrasting(rng, *levels), int(rng.uniform(0.003, 0.015) * HEIGHT)
    cv2.polylines(image, [whole(face) for face in faces], True, ink, thickness)
    return np.array([near, near - a, near - b, near - c, near - a - b, near - b - c, near - c - a])


def gaussian_noise(rng: Rng, image: Image) -> Points:
    image[:] = rng.integers(0, 256, image.shape, np.uint8)
    return np.zeros((0, 2))


DRAWN: tuple[Callable[[Rng, Image], Points], ...] = (
    lines, polygon, multiple_polygons, ellipses, star, checkerboard, stripes, cube, gaussian_noise,
)  # fmt: skip


def spoil(rng: Rng, image: Image) -> Image:
    """Each of the six effects once, in any order, clipped to 0..255 after each."""
    pixels, (height, width) = image.astype(np.float32), image.shape
    for effect in rng.permutation(6):
        if effect == 0:  # brightness
            pixels = pixels + rng.uniform(-75, 75)
        elif effect == 1:  # contrast
            pixels = (pixels - pixels.mean()) * rng.uniform(0.3, 1.8) + pixels.mean()
        elif effect == 2:  # Gaussian noise
            pixels = pixels + rng.standard_normal(image.shape) * rng.uniform(0, 15)
        elif effect == 3:  # speckle
            share, chance = rng.uniform(0, 0.0035), rng.random(image.shape)
            pixels = np.where(chance < share, 0, np.where(chance > 1 - share, 255, pixels))
        elif effect == 4:  # shade
            mask, side = np.zeros(image.shape, np.float32), int(rng.integers(50, 100)) | 1
            for _ in range(20):
                centre = int(rng.integers(width)), int(rng.integers(height))
                axes = np.maximum(rng.random(2) * height / 4, height / 20).astype(int).tolist()
                cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 90)), 0, 360, 1.0, -1)
            pixels = pixels * (1 - rng.uniform(-0.5, 0.8) * cv2.GaussianBlur(mask, (side, side), 0))
        else:  # motion blur
            side = int(rng.integers(0, 4)) * 2 + 1
            kernel, along, middle = np.zeros((side, side)), np.arange(side), np.full(side, side // 2)
            where = [(middle, along), (along, middle), (along, along), (along, along[::-1])][rng.integers(4)]
            kernel[where] = np.exp(-8 * ((along - side // 2) / side) ** 2)
            pixels = cv2.filter2D(pixels, -1, kernel / kernel.sum())
        pixels = np.clip(pixels, 0, 255)
    return np.asarray(pixels, np.uint8)


def draw(seed: int, index: int, noisy: bool) -> Sample:
    """Image number `index` [120, 160] of a seed, its primitive and its corners."""
    rng = np.random.default_rng([seed, index])
    primitive = DRAWN[index % len(DRAWN)]
    large = shading(rng, np.zeros((HEIGHT, WIDTH), np.uint8), int(rng.integers(256)), 100, (25, 40), (150, 500))
    points = resize_points(primitive(rng, large), 1 / REDUCED, 1 / REDUCED)
    large = cv2.GaussianBlur(large, (BLUR, BLUR), 0)
    image = np.asarray(cv2.resize(large, SIZE[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    if noisy:
        image = spoil(rng, image)
    return primitive.__name__, image, points[inside(points, *image.shape)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", action="append", help="name, file or run folder; may be repeated")
    parser.add_argument("--images", type=int, default=1800)
    parser.add_argument("--seed", type=int, default=1, help="1 to select by, 2 to report")
    parser.add_argument("--sheet", help="write a contact sheet with the corners to this PNG")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    detectors: dict[str, Detect] = {
        name: partial(map, classical_detector(name, nms_radius=DECODE.nms_radius, border=DECODE.border))
        for name in ("fast", "harris", "shi")
    }
    for name in arguments.model or ["magicpoint", "magicpoint-lite"]:
        detectors[name] = partial(features, load_network(name), decode=DECODE)
    samples = {}
    for variant in ("clean", "noisy"):
        samples[variant] = [draw(arguments.seed, index, variant == "noisy") for index in range(arguments.images)]
    if arguments.sheet:
        shown = [samples[variant][i] for i in range(0, 27) for variant in samples]
        pictures = [draw_keypoints(image, [], truth=points, scale=2) for _, image, points in shown]
        save_image(arguments.sheet, contact_sheet(pictures, [name for name, _, _ in shown], columns=6))
    results = [
        evaluate_synthetic(detect, samples[variant], detector=name, variant=variant)
        for name, detect in detectors.items()
        for variant in samples
    ]
    console = Console(width=200)
    for table in (summary_table(results), *(primitive_table(results, eps) for eps in (2, 4))):
        console.print(table)


if __name__ == "__main__":
    main()
