"""Image pairs, read or generated, scaled as a protocol requires, with their homography."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.bands import in_channels, read_image
from superpoint.data.images import resize_with_points, sample_photographs
from superpoint.data.masks import Mask, Masks, on_mask
from superpoint.data.pairs import KINDS, ViewPair, generated_pair
from superpoint.data.sequences import PairFiles, find_pairs
from superpoint.data.sources.archives import Item
from superpoint.data.sources.source import open_source
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.homography import (
    Matrix,
    frame_corners,
    inside,
    inverse,
    resize_matrix,
    shrunk_size,
    warp_points,
)

Image = NDArray[np.uint8]
NO_POINTS = np.zeros((0, 2), np.float32)


def fit(image: Image, longest: int, size: Sequence[int]) -> tuple[Image, Matrix]:
    """Scale an image uint8 [H, W] or [H, W, C]. Return it, and the homography from its old pixels to the new ones.

    Args:
        longest: longest side of the result, never enlarged; 0 = as it is.
        size: (height, width) instead, unless empty: scaled to cover it and cut about the centre.
    """
    height, width = image.shape[:2]
    if size:
        scale = max(size[0] / height, size[1] / width)
        scaled = max(size[0], round(height * scale)), max(size[1], round(width * scale))
    else:
        scaled = shrunk_size(height, width, longest)
    resized, _ = resize_with_points(image, NO_POINTS, scaled)
    matrix = resize_matrix(scaled[1] / width, scaled[0] / height)
    if not size:
        return resized, matrix
    top, left = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    cut = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
    return np.ascontiguousarray(resized[top : top + size[0], left : left + size[1]]), cut @ matrix


def fit_pair(pair: ViewPair, longest: int, size: Sequence[int]) -> ViewPair:
    """Fit both views, each by its own scale, and the homography between the results."""
    image_a, to_a = fit(pair.image_a, longest, size)
    image_b, to_b = fit(pair.image_b, longest, size)
    masks = (mask if mask is None else 255 * mask.astype(np.uint8) for mask in (pair.valid_a, pair.valid_b))
    valid = [mask if mask is None else fit(mask, longest, size)[0] == 255 for mask in masks]
    return ViewPair(pair.name, pair.sequence, pair.change, image_a, image_b, to_b @ pair.h_a_b @ inverse(to_a), *valid)


def within(found: Features, valid: Mask | None) -> Features:
    """Return the features on the pixels that count."""
    return found if valid is None else found.take(on_mask(found.keypoints, valid))


def read_pair(files: PairFiles, channels: int = 1) -> ViewPair:
    """Read a pair. Raises: UserError if an image cannot be read, or no part of one is mapped into the other."""
    image_a, image_b = read_image(files.image_a, channels), read_image(files.image_b, channels)
    pair = ViewPair(files.name, files.sequence, files.change, image_a, image_b, files.h_a_b)
    if not overlap(pair):
        raise UserError(f"{files.image_b}: its homography maps no part of {files.image_a.name} into it")
    return pair


def overlap(pair: ViewPair) -> bool:
    """Tell whether any part of the first view (on a grid of 33 x 33) falls into the second."""
    height, width = pair.image_a.shape[:2]
    (left, top), _, (right, bottom), _ = frame_corners(height, width)
    grid = np.stack(np.meshgrid(np.linspace(left, right, 33), np.linspace(top, bottom, 33)), axis=-1).reshape(-1, 2)
    return bool(inside(warp_points(grid, pair.h_a_b), *pair.image_b.shape[:2]).any())


def features_of_both(extract: Callable[[Image], Features], pair: ViewPair) -> tuple[Features, Features]:
    """Return what an extractor finds in both views, on the pixels that count."""
    return within(extract(pair.image_a), pair.valid_a), within(extract(pair.image_b), pair.valid_b)


class Job(NamedTuple):
    """A pair that is not yet loaded. `load` raises UserError if it cannot be."""

    name: str
    load: Callable[[], ViewPair]


def find_jobs(
    config: EvaluatePairsConfig,
    data: str | Path | None,
    images: str | Path | None,
    masks: str | Path | None = None,
    root: str | Path | None = None,
    channels: int = 1,
) -> tuple[list[Job], list[str]]:
    """Return the pairs to measure, and the reasons for pairs left out so far. Raises: UserError if there is none.

    Args:
        data: folder of sequences; None = pairs generated from photographs.
        images: folder of photographs for these, of which `config.limit` are taken in even steps; None = those of
            scikit-image.
        masks: folder of the photographs' masks, by their names relative to `root` (None: see `open_source`).
        channels: of the images, see `read_image`.
    """
    if masks is not None and images is None:
        raise UserError("--masks: found without --images, expected the photographs that the masks belong to")
    if data is not None:
        found = find_pairs(data)
        return [Job(files.name, partial(read_pair, files, channels)) for files in found.pairs], found.skipped
    photographs = _photographs(images, config.limit, root, channels)
    store = None if masks is None else Masks(masks)
    if store is not None and (note := store.check([item.name for item in photographs])):
        print(note)
    size = config.generated_size[0], config.generated_size[1]

    @lru_cache(maxsize=1)  # one photograph makes several pairs, one after the other
    def photograph(place: int) -> tuple[Image, Mask | None]:
        item = photographs[place]
        image = item.load()
        return image, None if store is None else store.read(item.name, image.shape, item.orientation())

    def load(place: int, index: int, kind: str) -> ViewPair:
        image, mask = photograph(place)
        return generated_pair(image, photographs[place].name, index, kind, size, config.seed, mask)

    return [
        Job(f"{name}/{kind}-{index}", partial(load, place, index, kind))
        for place, (name, *_) in enumerate(photographs)
        for kind in KINDS
        for index in range(config.generated_pairs)
    ], []


def _photographs(folder: str | Path | None, limit: int, root: str | Path | None, channels: int) -> list[Item]:
    if folder is None:
        rgb = sample_photographs()[: limit or None]
        return [Item(name, partial(in_channels, image, channels), lambda: 1) for name, image in rgb]
    source = open_source([str(folder)], root, channels=channels)
    items = list(source.read(0, max(len(source), 1)))
    count = min(limit or len(items), len(items))
    return [items[place * len(items) // count] for place in range(count)]


def load_views(jobs: Iterable[Job], skipped: list[str]) -> Iterator[ViewPair]:
    """Yield the pairs that can be loaded; add the errors of the others to `skipped`."""
    for job in jobs:
        try:
            yield job.load()
        except UserError as error:
            skipped.append(str(error))


def content_hash(image: Image) -> str:
    """Return 20 hexadecimal digits of the pixels and the shape."""
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()[:20]
