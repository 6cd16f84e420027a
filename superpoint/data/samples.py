"""Training samples: pure functions of (seed, index)."""

from __future__ import annotations

from itertools import islice

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from superpoint.config import DataConfig
from superpoint.data.photometric import augment_photometric
from superpoint.data.synthetic import ShapeGenerator
from superpoint.errors import UserError
from superpoint.geometry.cells import CELL, encode_points, valid_cells
from superpoint.geometry.homography import sample_homography, warp_image, warp_points, warp_valid

AUGMENT_STREAM = 7001  # keeps the augmentation's random numbers apart from the generator's


class SyntheticShapes(Dataset[dict[str, torch.Tensor]]):
    """Synthetic shapes, augmented and encoded, on the fly and without end.

    Sample `index` (any integer >= 0) is a dict of tensors:
        image: uint8 [1, H, W], padded on the right and below to multiples of 8.
        target: int64 [H / 8, W / 8] in 0..64, 64 = dustbin.
        valid: bool [H / 8, W / 8], cells that hold image, not padding or the border of a warp.

    Over the first `config.curriculum` samples the augmentation grows from none to all. With `config.overfit` = n > 0
    only n different samples exist, each with at least one label, and none is augmented.
    """

    def __init__(self, config: DataConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.generator = ShapeGenerator(config.synthetic, config.height, config.width, seed)
        # What to overfit must hold something to find, so scenes without a label are passed over.
        labelled = (index for index in range(10_000) if len(self.generator.scene(index).points))
        self._overfit = list(islice(labelled, config.overfit))
        if len(self._overfit) < config.overfit:
            raise UserError("data.overfit: the primitives chosen draw too few scenes with labels")

    def __len__(self) -> int:
        return self.config.overfit or 2**62

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if self._overfit:
            index %= len(self._overfit)
        image, points, mask = self.draw(index)
        image, mask = _pad(image, mask)
        rng = np.random.Generator(np.random.SFC64([self.seed, index, AUGMENT_STREAM + 1]))
        target = encode_points(points, *image.shape, rng=rng)
        return {
            "image": torch.from_numpy(image)[None],
            "target": torch.from_numpy(target),
            "valid": torch.from_numpy(valid_cells(mask)),
        }

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sample `index` before encoding: image uint8 [H, W], points float32 [N, 2], valid mask bool [H, W]."""
        if self._overfit:
            scene = self.generator.scene(self._overfit[index % len(self._overfit)])
            return scene.image, scene.points, np.ones(scene.image.shape, bool)
        scene = self.generator.scene(index)
        rng = np.random.Generator(np.random.SFC64([self.seed, index, AUGMENT_STREAM]))
        # A function of the index, not of what has been trained: sample 1234 is the same in every run and rank.
        strength = min(1.0, index / self.config.curriculum) if self.config.curriculum else 1.0
        image, points, mask = self._warp(scene.image, scene.points, rng, strength)
        return augment_photometric(image, self.config.photometric, rng, strength), points, mask

    def _warp(
        self, image: np.ndarray, points: np.ndarray, rng: np.random.Generator, share: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        size = image.shape
        config = self.config.homography
        if not config.enable or rng.random() >= config.probability * share:
            return image, points, np.ones(size, bool)
        h_scene_sample = sample_homography(
            rng,
            *size,
            rotation=config.rotation,
            scale=config.scale,
            perspective=config.perspective,
            shear=config.shear,
            translation=config.translation,
        )
        # Beyond the scene's outline: black, as in homographic adaptation, or its last pixels drawn out.
        border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
        warped = warp_image(image, h_scene_sample, size, border)
        mask = warp_valid(h_scene_sample, size, size, config.border_margin)
        return warped, warp_points(points, h_scene_sample), mask


def _pad(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image and valid mask [H, W] with sides made multiples of 8; the padding repeats the edge and is not valid."""
    below, right = -image.shape[0] % CELL, -image.shape[1] % CELL
    if not below and not right:
        return image, mask
    return np.pad(image, ((0, below), (0, right)), mode="edge"), np.pad(mask, ((0, below), (0, right)))
