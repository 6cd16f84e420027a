"""Training samples: pure functions of (seed, index)."""

from collections.abc import Iterable
from itertools import islice

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from superpoint.config import DataConfig, HomographyConfig
from superpoint.data.masks import Mask, inner, warp_inner
from superpoint.data.photometric import augment_photometric
from superpoint.data.synthetic import ShapeGenerator
from superpoint.errors import UserError
from superpoint.geometry.cells import CELL, encode_points, image_tensor, valid_cells
from superpoint.geometry.homography import inside, sample_homography, warp_image, warp_points, warp_valid

# Image [H, W] or [H, W, C], points [N, 2] (x, y), and the mask, bool [H, W] or None.
Scene = tuple[NDArray[np.uint8], NDArray[np.float32], Mask | None]

SEARCHED = 2000  # scenes looked through for those with labels
AUGMENT_STREAM = 7001  # keeps the augmentation's random numbers apart from the generator's


class KeypointSamples(Dataset[dict[str, torch.Tensor]]):
    """Images with points, augmented and encoded, without end.

    Sample `index` (any integer >= 0) is a dict of tensors:
        image: uint8 [C, H, W], padded on the right and below to multiples of 8.
        target: int64 [H / 8, W / 8] in 0..64, 64 = dustbin.
        valid: bool [H / 8, W / 8], cells that hold image, not padding or the border of a warp.

    Over the first `config.curriculum` samples the augmentation grows from none to all. With `config.overfit` = n > 0
    only the n samples `repeated` exist, each with a label, none augmented.
    """

    def __init__(self, config: DataConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.repeated: list[int] = []

    def scene(self, index: int) -> Scene:
        """Return the image and points of sample `index` before augmentation."""
        raise NotImplementedError

    def still(self, number: int) -> Scene:
        """Return image `number` of the source without anything random, for overfitting."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.config.overfit or 2**62

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if self.repeated:
            index %= len(self.repeated)
        rng = np.random.Generator(np.random.SFC64([self.seed, index, AUGMENT_STREAM + 1]))
        return encode(*self.draw(index), rng)

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return sample `index` before encoding: image uint8, points float32 [N, 2], mask bool [H, W]."""
        if self.repeated:
            image, points, mask = self.still(self.repeated[index % len(self.repeated)])
            return image, points, valid_pixels(image, mask)
        image, points, mask = self.scene(index)
        rng = np.random.Generator(np.random.SFC64([self.seed, index, AUGMENT_STREAM]))
        strength = min(1.0, index / self.config.curriculum) if self.config.curriculum else 1.0
        image, points, mask = _warp(image, points, mask, self.config.homography, rng, strength)
        return augment_photometric(image, self.config.photometric, rng, strength), points, mask

    def first_labelled(self, numbers: Iterable[int]) -> list[int]:
        """Return the first `config.overfit` of `numbers` whose image has a label on it."""
        size = self.config.height, self.config.width
        labelled = (number for number in numbers if inside(self.still(number)[1], *size).any())
        return list(islice(labelled, self.config.overfit))


class SyntheticShapes(KeypointSamples):
    """Synthetic shapes as samples; see `KeypointSamples`. Those to overfit start at scene `config.overfit_first`."""

    def __init__(self, config: DataConfig, seed: int, channels: int = 1) -> None:
        super().__init__(config, seed)
        self.generator = ShapeGenerator(config.synthetic, config.height, config.width, seed, channels)
        first = config.overfit_first
        self.repeated = self.first_labelled(range(first, first + SEARCHED))
        if len(self.repeated) < config.overfit:
            raise UserError("data.overfit: the primitives chosen draw too few scenes with labels")

    def scene(self, index: int) -> Scene:
        scene = self.generator.scene(index)
        return scene.image, scene.points, None

    def still(self, number: int) -> Scene:
        return self.scene(number)


def valid_pixels(image: NDArray[np.uint8], mask: Mask | None) -> Mask:
    """Return the pixels of an image [H, W] that count: all without a mask."""
    return np.ones(image.shape[:2], bool) if mask is None else inner(mask)


def _warp(
    image: np.ndarray,
    points: np.ndarray,
    kept: Mask | None,
    config: HomographyConfig,
    rng: np.random.Generator,
    share: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, points and valid mask (on what is `kept`) under a random homography, drawn in `share` of the cases."""
    size = image.shape[0], image.shape[1]
    if not config.enable or rng.random() >= config.probability * share:
        return image, points, valid_pixels(image, kept)
    h_scene_sample = sample_homography(rng, *size, config)
    # Beyond the scene's outline: black, as in homographic adaptation, or its last pixels drawn out.
    border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
    warped = warp_image(image, h_scene_sample, size, border)
    mask = warp_valid(h_scene_sample, size, size, config.border_margin)
    if kept is not None:
        mask &= warp_inner(kept, h_scene_sample, size)
    return warped, warp_points(points, h_scene_sample), mask


def encode(
    image: np.ndarray, points: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Return the sample of an image, its points [N, 2] and mask bool [H, W]; see `KeypointSamples`."""
    padding = [(0, -image.shape[0] % CELL), (0, -image.shape[1] % CELL)]
    mask = np.pad(mask, padding)
    image = np.pad(image, [*padding, (0, 0)][: image.ndim], mode="edge")
    return {
        "image": image_tensor([image])[0],
        "target": torch.from_numpy(encode_points(points, *mask.shape, rng=rng)),
        "valid": torch.from_numpy(valid_cells(mask)),
    }
