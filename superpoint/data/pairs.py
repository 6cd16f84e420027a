"""Image pairs with a known homography, generated from photographs."""

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.config import HomographyConfig, PhotometricConfig
from superpoint.data.masks import Mask, resize_mask, warp_inner
from superpoint.data.photometric import augment_photometric
from superpoint.geometry.homography import Matrix, resize_matrix, sample_homography, warp_image

PAIR_STREAM = 7201  # keeps these random numbers apart from those of training samples
KINDS = ("viewpoint", "photometric")
HOMOGRAPHY = HomographyConfig(rotation=30.0, scale=[0.7, 1.4], perspective=0.12, translation=0.05)
PHOTOMETRIC = PhotometricConfig(strength=0.7, probability=0.7)


@dataclass(frozen=True)
class ViewPair:
    """Two views, uint8 [H, W] or [H, W, C], and the homography `h_a_b` that maps points of the first to the second.

    `sequence`: the photograph or folder they are of. `change`: what differs. `valid_a`, `valid_b`: bool [H, W], what
    counts of them; None = all.
    """

    name: str
    sequence: str
    change: str
    image_a: NDArray[np.uint8]
    image_b: NDArray[np.uint8]
    h_a_b: Matrix
    valid_a: Mask | None = None
    valid_b: Mask | None = None


def generated_pair(
    photograph: NDArray[np.uint8],
    name: str,
    index: int,
    kind: str,
    size: tuple[int, int] = (240, 320),
    seed: int = 0,
    mask: Mask | None = None,
    *,
    homography: HomographyConfig = HOMOGRAPHY,
    photometric: PhotometricConfig = PHOTOMETRIC,
) -> ViewPair:
    """Return pair `index` of a photograph uint8 and its mask, a pure function of (seed, name, index, kind).

    The first view is the photograph, scaled to cover `size` (height, width) and cut about its centre. The second is a
    random homography of the photograph ("viewpoint") or the first with other light, noise and blur ("photometric").
    """
    rng = np.random.Generator(np.random.SFC64([seed, zlib.crc32(name.encode()), index, PAIR_STREAM, KINDS.index(kind)]))
    height, width = size
    cover = max(height / photograph.shape[0], width / photograph.shape[1])
    source = at_twice(photograph, cover)
    h_source_a = centred(source.shape, size, cover if source is photograph else 0.5)
    image_a = resample(source, h_source_a, size)
    mask = None if mask is None else resize_mask(mask, source.shape)
    valid_a = None if mask is None else warp_inner(mask, h_source_a, size)
    title = f"{name}/{kind}-{index}"
    if kind == "photometric":
        image_b = augment_photometric(image_a, photometric, rng)
        return ViewPair(title, name, kind, image_a, image_b, np.eye(3), valid_a, valid_a)
    h_a_b = sample_homography(rng, height, width, homography)
    h_source_b = h_a_b @ h_source_a
    valid_b = None if mask is None else warp_inner(mask, h_source_b, size)
    return ViewPair(title, name, kind, image_a, resample(source, h_source_b, size), h_a_b, valid_a, valid_b)


def at_twice(photograph: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Return a photograph at no more than twice `scale`: enough for the zooms drawn, without aliasing."""
    if 2 * scale >= 1:
        return photograph
    across, down = (max(1, round(2 * scale * side)) for side in photograph.shape[1::-1])
    return np.asarray(cv2.resize(photograph, (across, down), interpolation=cv2.INTER_AREA), np.uint8)


def centred(shape: tuple[int, ...], size: tuple[int, int], scale: float) -> Matrix:
    """Return the homography that resizes an image by `scale` and cuts `size` about its centre."""
    cut = np.eye(3)
    cut[0, 2] = -(shape[1] * scale - size[1]) / 2
    cut[1, 2] = -(shape[0] * scale - size[0]) / 2
    return cut @ resize_matrix(scale, scale)


def resample(source: NDArray[np.uint8], h_source_view: Matrix, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a view of (height, width), drawn at twice its size and averaged; mirrored beyond the outline."""
    doubled = warp_image(source, resize_matrix(2, 2) @ h_source_view, (2 * size[0], 2 * size[1]), cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(doubled, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
