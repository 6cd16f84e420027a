"""Image pairs as a protocol shows them to the detectors: read or generated, scaled, and their homography with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from superpoint.config import HomographyConfig, PhotometricConfig
from superpoint.data.images import read_gray, resize_with_points
from superpoint.data.pairs import KINDS, generated_pair
from superpoint.data.sequences import PairFiles
from superpoint.errors import UserError
from superpoint.geometry.homography import Matrix, frame_corners, inside, inverse, resize_matrix, warp_points

Image = NDArray[np.uint8]
NO_POINTS = np.zeros((0, 2), np.float32)
HOMOGRAPHY = HomographyConfig(rotation=30.0, scale=[0.7, 1.4], perspective=0.12, translation=0.05)
PHOTOMETRIC = PhotometricConfig(strength=0.7, probability=0.7)


@dataclass(frozen=True)
class ViewPair:
    """Two views, uint8 [H, W], and the homography between their pixels."""

    name: str
    sequence: str
    change: str
    image_a: Image
    image_b: Image
    h_a_b: Matrix


def fit(image: Image, longest: int, size: tuple[int, int] | None) -> tuple[Image, Matrix]:
    """An image as a protocol wants it, and the homography from its pixels to those of the result.

    Args:
        image: uint8 [H, W].
        longest: longest side of the result, never enlarged; 0 = as it is.
        size: (height, width) in place of it: scaled to cover it and cut about the centre.
    """
    height, width = image.shape
    if size is not None:
        scale = max(size[0] / height, size[1] / width)
        scaled = max(size[0], round(height * scale)), max(size[1], round(width * scale))
    else:
        scale = min(1.0, longest / max(height, width)) if longest else 1.0
        scaled = max(1, round(height * scale)), max(1, round(width * scale))
    resized, _ = resize_with_points(image, NO_POINTS, scaled)
    matrix = resize_matrix(scaled[1] / width, scaled[0] / height)
    if size is None:
        return resized, matrix
    top, left = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    cut = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
    return np.ascontiguousarray(resized[top : top + size[0], left : left + size[1]]), cut @ matrix


def fit_pair(pair: ViewPair, longest: int, size: tuple[int, int] | None) -> ViewPair:
    """Both views by `fit`, each by its own scale, and the homography between the results."""
    image_a, to_a = fit(pair.image_a, longest, size)
    image_b, to_b = fit(pair.image_b, longest, size)
    return ViewPair(pair.name, pair.sequence, pair.change, image_a, image_b, to_b @ pair.h_a_b @ inverse(to_a))


def read_pair(files: PairFiles) -> ViewPair:
    """Raises: UserError if an image cannot be read, or the homography maps no part of one image into the other."""
    image_a, image_b = read_gray(files.image_a), read_gray(files.image_b)
    pair = ViewPair(files.name, files.sequence, files.change, image_a, image_b, files.h_a_b)
    if not overlap(pair):
        raise UserError(f"{files.image_b}: its homography maps no part of {files.image_a.name} into it")
    return pair


def overlap(pair: ViewPair) -> bool:
    """Whether any part of the first view (on a grid of 33 x 33) falls into the second."""
    height, width = pair.image_a.shape
    (left, top), _, (right, bottom), _ = frame_corners(height, width)
    grid = np.stack(np.meshgrid(np.linspace(left, right, 33), np.linspace(top, bottom, 33)), axis=-1).reshape(-1, 2)
    return bool(inside(warp_points(grid, pair.h_a_b), *pair.image_b.shape).any())


def generated_views(
    photograph: Image, name: str, *, count: int, size: tuple[int, int], seed: int
) -> Iterator[ViewPair]:
    """`count` pairs of each kind of one photograph; see `data.pairs`."""
    for kind in KINDS:
        for index in range(count):
            made = generated_pair(
                photograph, name, index, kind=kind, size=size, seed=seed, homography=HOMOGRAPHY, photometric=PHOTOMETRIC
            )
            yield ViewPair(f"{name}/{kind}-{index}", name, kind, made.image_a, made.image_b, made.h_a_b)


def content_hash(image: Image) -> str:
    """20 hexadecimal digits of the pixels and the shape."""
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()[:20]
