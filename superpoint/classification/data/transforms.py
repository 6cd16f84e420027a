"""Augmentation and crops: pure functions of images uint8 [H, W, C] and a generator. Sizes are (height, width)."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from superpoint.classification.config import ClassAugmentConfig
from superpoint.classification.data.images import Image, resize, resize_shorter

Size = tuple[int, int]
TRIES = 10  # of a random area and shape, before the whole image is taken


def training_view(image: Image, size: Size, config: ClassAugmentConfig, rng: Generator) -> Image:
    """Return a training image cut, mirrored and recoloured, as `config` says; uint8 [*size, C]."""
    if config.crop == "resized":
        image = random_resized_crop(image, size, config.scale, config.ratio, rng)
    elif config.crop == "padded":
        pad = (config.padding, config.padding)
        image = random_crop(np.pad(central_view(image, size), (pad, pad, (0, 0))), size, rng)
    else:
        image = central_view(image, size)
    if rng.random() < config.flip:
        image = np.ascontiguousarray(image[:, ::-1])
    return colour_jitter(image, config.brightness, config.contrast, config.saturation, config.hue, rng)


def evaluation_views(image: Image, size: Size, resize: float = 1.15, crops: int = 1) -> NDArray[np.uint8]:
    """Return the views of a test image, uint8 [V, *size, C]: centre; of 5 also the corners; of 10 all mirrored too.

    resize: shorter side of the image over the longer side of the crop.
    """
    image = resize_shorter(image, max(size) * resize)
    height, width = image.shape[:2]
    bottom, right = height - size[0], width - size[1]
    corners = [(bottom // 2, right // 2), (0, 0), (0, right), (bottom, 0), (bottom, right)]
    views = [image[top : top + size[0], left : left + size[1]] for top, left in corners[: 5 if crops > 1 else 1]]
    if crops == 10:
        views += [view[:, ::-1] for view in views]
    return np.stack(views)


def central_view(image: Image, size: Size) -> Image:
    """Return the largest central part of the shape of `size`, resized to it."""
    height, width = image.shape[:2]
    scale = min(height / size[0], width / size[1])
    part = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (height - part[0]) // 2, (width - part[1]) // 2
    return resize(image[top : top + part[0], left : left + part[1]], size)


def random_resized_crop(
    image: Image, size: Size, scale: Sequence[float], ratio: Sequence[float], rng: Generator
) -> Image:
    """Return a part of random area and shape, resized (Szegedy et al. 2015, section 6).

    Args:
        scale: lowest and highest share of the image's area, uniform.
        ratio: lowest and highest width over height, log-uniform.
    """
    height, width = image.shape[:2]
    for _ in range(TRIES):
        area = height * width * rng.uniform(scale[0], scale[1])
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        rows, columns = round(math.sqrt(area / shape)), round(math.sqrt(area * shape))
        if 1 <= rows <= height and 1 <= columns <= width:
            top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
            return resize(image[top : top + rows, left : left + columns], size)
    return central_view(image, size)


def random_crop(image: Image, size: Size, rng: Generator) -> Image:
    """Return a part of exactly `size`; the image is at least as large."""
    top, left = (int(rng.integers(have - want + 1)) for have, want in zip(image.shape[:2], size, strict=True))
    return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])


def colour_jitter(
    image: Image, brightness: float, contrast: float, saturation: float, hue: float, rng: Generator
) -> Image:
    """Change brightness, contrast, saturation by factors in [1 - a, 1 + a]; turn the hue by up to `hue` of a circle."""
    factors = [rng.uniform(max(0.0, 1 - strength), 1 + strength) for strength in (brightness, contrast, saturation)]
    turn = rng.uniform(-hue, hue)  # drawn in any case: a switch must not change what the others draw
    if not (brightness or contrast or saturation or hue):
        return image
    values = image.astype(np.float32) * np.float32(factors[0])
    grey = _grey(values)
    values = grey.mean() + (values - grey.mean()) * np.float32(factors[1])
    if image.shape[2] == 3:
        grey = _grey(values)[:, :, None]
        values = grey + (values - grey) * np.float32(factors[2])
    image = np.rint(values.clip(0, 255)).astype(np.uint8)
    if hue and image.shape[2] == 3:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        hsv[:, :, 0] += np.uint8(round(turn * 256) % 256)  # a full circle is 256 steps, and wraps as uint8 does
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).astype(np.uint8)
    return image


def _grey(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(values, cv2.COLOR_RGB2GRAY), np.float32) if values.shape[2] == 3 else values[:, :, 0]
