"""What matching survives: the share of right matches over rotation, scale, tilt, light, blur, JPEG and noise.

    python benchmarks/survival.py --images FOLDER --out docs/images/survival.png \
        [--photographs 20] [--extractors superpoint superpoint-lite sift orb aliked:aliked-n16.pth]

Each photograph, at most 480 px, is matched with a changed copy of itself by mutual nearest neighbours of at most 1000
keypoints, as the images are, without a search for views. A match is right within 3 px in the second image. A scale
above 1 says that the second image is the larger one; it is the photograph then, and the first is shrunk.

aliked:FILE is kornia's ALIKED-n16 with weights of Shiaoming/ALIKED; it sees grey in all channels.

Prints the mean over the photographs, and draws it; the numbers go beside the picture as .json, and an extractor that
stands there already is not measured again.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.images import resize_with_points
from superpoint.data.sources.source import open_source
from superpoint.evaluation.extractors import Extractor, make_extractor
from superpoint.evaluation.pairs import match_errors
from superpoint.features import Features
from superpoint.files import write_json
from superpoint.geometry.homography import (
    Matrix,
    frame_corners,
    inverse,
    resize_matrix,
    shrunk_size,
    warp_image,
    warp_points,
)
from superpoint.matching import match
from superpoint.visualize import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, plot_color, save_figure

Image = NDArray[np.uint8]
Changed = tuple[Image, Image, Matrix]  # first image, second image, homography between them

EPS = 3.0  # px
POINTS = EvaluatePairsConfig().max_keypoints
LONGEST = 480  # px
COLORS = (BLUE, SKY, VERMILION, ORANGE, GREEN, PURPLE)
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))


def scaled(image: Image, across: float, down: float) -> tuple[Image, Matrix]:
    height, width = (max(16, round(side * by)) for side, by in zip(image.shape, (down, across), strict=True))
    resized = resize_with_points(image, np.zeros((0, 2), np.float32), (height, width))[0]
    return resized, resize_matrix(width / image.shape[1], height / image.shape[0])


def rotation(image: Image, degrees: float) -> Changed:
    if not degrees:
        return image, image, np.eye(3)
    height, width = image.shape
    turn = np.vstack([cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0), [0, 0, 1]])
    corners = warp_points(frame_corners(height, width), turn).astype(np.float64)
    turn[:2, 2] -= corners.min(axis=0) + 0.5
    across, down = np.ceil(np.ptp(corners, axis=0)).astype(int).tolist()
    return image, warp_image(image, turn, (down, across)), turn


def scale(image: Image, by: float) -> Changed:
    small, matrix = scaled(image, min(by, 1 / by), min(by, 1 / by))
    return (image, small, matrix) if by <= 1 else (small, image, inverse(matrix))


def tilt(image: Image, degrees: float) -> Changed:
    return image, *scaled(image, float(np.cos(np.deg2rad(degrees))), 1.0)


def kept(change: Callable[[Image, float], NDArray[np.generic]]) -> Callable[[Image, float], Changed]:
    """Make a change of the pixels alone a change."""
    return lambda image, level: (image, np.rint(change(image, level).clip(0, 255)).astype(np.uint8), np.eye(3))


def blur(image: Image, sigma: float) -> NDArray[np.generic]:
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image


def jpeg(image: Image, quality: float) -> NDArray[np.generic]:
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))


def noise(image: Image, sigma: float) -> NDArray[np.generic]:
    return image + np.random.default_rng(0).normal(0, sigma, image.shape) if sigma else image


CHANGES: dict[str, tuple[Callable[[Image, float], Changed], tuple[float, ...]]] = {
    "rotation, degrees": (rotation, (0, 15, 30, 45, 60, 75, 90, 120, 150, 180)),
    "scale": (scale, (0.25, 0.35, 0.5, 0.71, 1, 1.41, 2, 2.83, 4)),
    "tilt, degrees": (tilt, (0, 30, 45, 60, 70, 75)),
    "light, stops less": (kept(lambda image, stops: image * 2.0**-stops), (0, 1, 2, 3, 4, 5)),
    "blur, sigma in px": (kept(blur), (0, 1, 2, 3, 4, 6)),
    "JPEG, quality": (kept(jpeg), (90, 50, 30, 20, 10, 5)),
    "noise, sigma of 255": (kept(noise), (0, 10, 20, 40, 60, 80)),
}


def aliked(weights: str) -> Extractor:
    """Return ALIKED-n16 (Zhao et al. 2023) of kornia with the authors' weights."""
    from kornia.feature import ALIKED  # slow to import

    network = ALIKED("aliked-n16", max_num_keypoints=POINTS, detection_threshold=0.0).eval()
    grid = "dkd.hw_grid"  # a constant of kornia's, which the authors' file lacks
    state = torch.load(weights, map_location="cpu", weights_only=True)
    network.load_state_dict({grid: network.state_dict()[grid], **state})

    def extract(image: Image) -> Features:
        with torch.inference_mode():
            (found,) = network(torch.from_numpy(image).expand(1, 3, -1, -1).float() / 255)
        points, scores, descriptors = (
            each.numpy() for each in (found.keypoints, found.keypoint_scores, found.descriptors)
        )
        return Features(points, scores, descriptors, (image.shape[1], image.shape[0]))

    return Extractor("aliked", "aliked-n16", extract)


def measure(extract: Extractor, images: list[Image]) -> dict[str, list[float]]:
    """Return the mean share of right matches by change, one per level."""
    found: dict[str, list[float]] = {}
    whole = [extract(image) for image in images]
    for name, (change, levels) in CHANGES.items():
        shares = []
        for level in levels:
            right = []
            for image, known in zip(images, whole, strict=True):
                first, second, h_a_b = change(image, level)
                a, b = (known if each is image else extract(each) for each in (first, second))
                pairs = match(a, b).indices
                errors = match_errors(a.keypoints[pairs[:, 0]], b.keypoints[pairs[:, 1]], h_a_b)
                right.append(float(np.mean(errors <= EPS)) if len(pairs) else 0.0)
            shares.append(round(float(np.mean(right)), 3))
        found[name] = shares
        print(
            f"{extract.name:16} {name:20}",
            *(f"{x:g}: {y:.2f}" for x, y in zip(levels, shares, strict=True)),
            flush=True,
        )
    return found


def survival_figure(shares: dict[str, dict[str, list[float]]]) -> Figure:
    figure = Figure(figsize=(13, 6.6), dpi=100, layout="constrained")
    panels = figure.subplots(2, 4, sharey=True).reshape(-1)
    for axes, (change, (_, levels)) in zip(panels, CHANGES.items(), strict=False):
        for index, (extractor, found) in enumerate(shares.items()):
            look = {"color": plot_color(COLORS[index]), "linestyle": STYLES[index], "marker": "o", "markersize": 3}
            axes.plot(range(len(levels)) if change == "scale" else levels, found[change], label=extractor, **look)
        if change == "scale":
            axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
        if change.startswith("JPEG"):
            axes.invert_xaxis()
        axes.set(xlabel=change, ylim=(0, 1.02))
        axes.grid(alpha=0.3)
    for axes in panels[::4]:
        axes.set_ylabel("share of matches within 3 px")
    panels[-1].axis("off")
    panels[-1].legend(*panels[0].get_legend_handles_labels(), loc="center", fontsize=11)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, default=Path("docs/images/survival.png"))
    parser.add_argument("--photographs", type=int, default=20)
    parser.add_argument("--extractors", nargs="+", default=["superpoint", "superpoint-lite", "sift", "orb"])
    options = parser.parse_args()
    source = open_source([options.images])
    items = list(source.read(0, len(source)))
    images = []
    for index in np.random.default_rng(0).permutation(len(items))[: options.photographs]:
        image = items[index].load()
        size = shrunk_size(image.shape[0], image.shape[1], LONGEST)
        images.append(resize_with_points(image, np.zeros((0, 2), np.float32), size)[0])
    numbers = options.out.with_suffix(".json")
    shares = json.loads(numbers.read_text())["shares"] if numbers.is_file() else {}
    for name in options.extractors:
        title, _, weights = name.partition(":")
        extractor = aliked(weights) if title == "aliked" else make_extractor(name, EvaluatePairsConfig())
        if title not in shares:
            shares[title] = measure(extractor, images)
            write_json(numbers, {"photographs": len(images), "shares": shares})
    save_figure(options.out, survival_figure(shares))


if __name__ == "__main__":
    main()
