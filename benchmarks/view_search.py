"""What the search for views is worth, and what it costs: `match_views` with "auto" against "none".

    python benchmarks/view_search.py --images FOLDER [--pairs 120] [--extractors superpoint-lite sift ...] [--mild]
    python benchmarks/view_search.py --data SEQUENCES [--extractors ...]

A pair is a photograph, and a view of it in front of another photograph: turned by up to 180 degrees, at 1 to 1/4 of its
size, in perspective, in other light, with noise; in half of the pairs the photograph is the second image (sizes 1 to
4). --mild draws the viewpoints of `evaluate pairs` instead, where upright matching is enough; --data reads real pairs
(HPatches or Oxford layout) at up to 640 px. The error is the mean over the corners of the photograph, in pixels of the
second image. Times are CPU time: other load does not count.
"""

import argparse
import time
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.config import HomographyConfig
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.images import resize_with_points
from superpoint.data.pairs import HOMOGRAPHY, PHOTOMETRIC
from superpoint.data.photometric import augment_photometric
from superpoint.data.sources.source import open_source
from superpoint.evaluation.extractors import Extractor, make_extractor
from superpoint.evaluation.views import find_jobs, fit_pair, load_views
from superpoint.geometry.homography import (
    Matrix,
    Points,
    frame_corners,
    resize_matrix,
    sample_homography,
    warp_image,
    warp_points,
    warp_valid,
)
from superpoint.matching import Copies, match_views

Image = NDArray[np.uint8]
Pair = tuple[Image, Image, Points, Points]  # two images, the photograph's corners in either

SIZE, FINE = (360, 480), 4
SEED = 15
WIDE = HomographyConfig(rotation=180.0, scale=[0.25, 1.0], perspective=0.12, translation=0.05)


def draw_pairs(folder: str, count: int, mild: bool) -> list[Pair]:
    """Draw pairs of twice as many photographs, by a fixed seed."""
    source = open_source([folder])
    items = list(source.read(0, len(source)))
    chosen = np.random.default_rng(SEED).permutation(len(items))[: 2 * count]
    pairs = []
    for front, back in zip(chosen[::2], chosen[1::2], strict=True):
        seed = [SEED, zlib.crc32(items[front].name.encode())]
        images = [covering(items[index].load()) for index in (front, back)]
        pairs.append(draw_pair(images[0], images[1], np.random.default_rng(seed), HOMOGRAPHY if mild else WIDE))
    return pairs


def read_pairs(folder: str) -> list[Pair]:
    """Read the pairs of a folder of sequences as `evaluate pairs` does."""
    config, pairs = EvaluatePairsConfig(), []
    for pair in load_views(find_jobs(config, folder, None, None, None, 1)[0], []):
        views = fit_pair(pair, config.longest, config.size)
        corners = frame_corners(*views.image_a.shape[:2]).astype(np.float32)
        pairs.append((views.image_a, views.image_b, corners, warp_points(corners, views.h_a_b)))
    return pairs


def covering(image: Image) -> Image:
    """Return an image scaled to cover SIZE and cut."""
    scale = max(SIZE[0] / image.shape[0], SIZE[1] / image.shape[1])
    size = max(SIZE[0], round(image.shape[0] * scale)), max(SIZE[1], round(image.shape[1] * scale))
    scaled = resize_with_points(image, np.zeros((0, 2), np.float32), size)[0]
    return np.ascontiguousarray(scaled[: SIZE[0], : SIZE[1]])


def draw_pair(front: Image, back: Image, rng: np.random.Generator, ranges: HomographyConfig) -> Pair:
    """Return a photograph and a view of it before another, in either order."""
    matrix = sample_homography(rng, *SIZE, ranges)
    large = (FINE * SIZE[0], FINE * SIZE[1])  # drawn so large and averaged: a view at a quarter of the size would alias
    view = cv2.resize(
        warp_image(front, resize_matrix(FINE, FINE) @ matrix, large), SIZE[::-1], interpolation=cv2.INTER_AREA
    )
    view = np.where(warp_valid(matrix, SIZE, SIZE, 1), view, back).astype(np.uint8)
    view = augment_photometric(view, PHOTOMETRIC, rng)
    corners = frame_corners(*SIZE).astype(np.float32)
    if rng.random() < 0.5:
        return view, front, warp_points(corners, matrix), corners
    return front, view, corners, warp_points(corners, matrix)


def corner_error(matrix: Matrix | None, corners0: Points, corners1: Points) -> float:
    if matrix is None:
        return np.inf
    error = np.linalg.norm(warp_points(corners0, matrix) - corners1, axis=1).mean()
    return float(error) if np.isfinite(error) else np.inf


def measure(extract: Extractor, pairs: list[Pair]) -> None:
    errors: dict[str, list[float]] = {"none": [], "auto": []}
    times: dict[str, list[float]] = {"none": [], "auto": []}
    searched = []
    extract(pairs[0][0])  # the first call is slower
    for first, second, corners0, corners1 in pairs:
        tried = 0
        for views in errors:
            start = time.process_time()
            found = match_views(Copies(first, extract), Copies(second, extract), views)
            times[views].append(time.process_time() - start)
            errors[views].append(corner_error(found.homography.matrix, corners0, corners1))
            tried = found.tried
        searched.append(tried > 0)
    ratio = np.divide(times["auto"], times["none"])
    again = np.array(searched)
    for views, values in errors.items():
        shares = " / ".join(f"{np.mean(np.array(values) <= limit):.3f}" for limit in (1, 3, 5))
        print(
            f"{extract.name:16} {views}: within 1 / 3 / 5 px {shares}, {1e3 * np.mean(times[views]):.0f} ms", flush=True
        )
    told = [
        f"{name} {np.median(ratio[each]):.2f}" for name, each in (("not", ~again), ("searched", again)) if each.any()
    ]
    print(
        f"{extract.name:16} searched {again.sum()} of {len(again)}; median ratio of times: {', '.join(told)}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--images", help="folder of photographs")
    what.add_argument("--data", help="folder of sequences with homographies")
    parser.add_argument("--pairs", type=int, default=120)
    parser.add_argument("--extractors", nargs="+", default=["superpoint-lite", "superpoint", "sift", "orb"])
    parser.add_argument("--mild", action="store_true")
    options = parser.parse_args()
    pairs = read_pairs(options.data) if options.data else draw_pairs(options.images, options.pairs, options.mild)
    for name in options.extractors:
        measure(make_extractor(name, EvaluatePairsConfig()), pairs)


if __name__ == "__main__":
    main()
