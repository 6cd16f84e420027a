"""Photometric augmentation of an image."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.config import PhotometricConfig

Image = NDArray[np.uint8]
FINEST_JPEG = 95.0
JPEG_BLOCK = 8  # pixels


def augment_photometric(
    image: Image, config: PhotometricConfig, rng: np.random.Generator, strength: float = 1.0
) -> Image:
    """Change light, blur, noise and compression of an image uint8 [H, W] or [H, W, C].

    Channels share what belongs to the scene and the lens: shadows, lamps, blur. Contrast, brightness, noise and
    compression, which belong to the sensor, are drawn for each alone. Each effect happens with `config.probability`;
    `config.strength` times `strength` scales them all.
    """
    strength = strength * config.strength
    if not config.enable or strength == 0:
        return image
    happens = rng.random(6) < config.probability
    if happens[0]:
        image = _by_channel(image, lambda one: _contrast(one, rng, config, strength))
    if config.gamma > 1 and rng.random() < config.probability:
        image = _gamma(image, np.exp(rng.uniform(-1.0, 1.0) * np.log(config.gamma) * strength))
    if happens[1]:
        low, high = config.shade
        image = _shade(image, rng.uniform(low, high) * min(strength, 1.0), rng)
    if config.lamplight > 1 and rng.random() < config.probability:
        image = _lamplight(image, float(np.exp(rng.uniform(0.0, 1.0) * np.log(config.lamplight) * strength)), rng)
    if happens[2] and config.motion_blur >= 3:
        image = _motion_blur(image, rng.uniform(1.0, 1.0 + (config.motion_blur - 1) * strength), rng)
    if happens[3] and config.defocus_blur > 0:
        sigma = rng.uniform(0.0, config.defocus_blur) * strength
        if sigma > 0.25:  # below, the kernel is a single pixel
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    if happens[4]:
        low, high = np.log(config.gaussian_noise)
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        noise *= np.float32(np.exp(rng.uniform(low, high)) * strength)
        image = np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)
    if happens[5]:
        image = _speckle(image, rng.uniform(0.0, config.speckle_noise) * strength, rng)
    if config.jpeg_quality and rng.random() < config.probability:
        quality = FINEST_JPEG - (FINEST_JPEG - config.jpeg_quality) * min(strength, 1.0) * rng.random()
        down, right = rng.integers(0, JPEG_BLOCK, 2).tolist()
        image = _by_channel(image, lambda one: _compress(one, quality, down, right))
    return image


def _by_channel(image: Image, effect: Callable[[Image], Image]) -> Image:
    if image.ndim == 2:
        return effect(image)
    return np.dstack([effect(np.ascontiguousarray(image[:, :, channel])) for channel in range(image.shape[2])])


def _multiplied(image: Image, field: NDArray[np.floating]) -> Image:
    """Multiply all channels by a field [H, W]."""
    if image.ndim == 3:
        field = np.repeat(field[:, :, None], image.shape[2], axis=2)
    return np.asarray(cv2.multiply(image, field, dtype=cv2.CV_8U), np.uint8)


def _contrast(image: Image, rng: np.random.Generator, config: PhotometricConfig, strength: float) -> Image:
    """A factor about the image mean, and a constant, in one look-up table."""
    low, high = config.contrast
    factor = 1 + (rng.uniform(low, high) - 1) * strength
    offset = rng.uniform(-config.brightness, config.brightness) * strength
    mean = cv2.mean(image)[0]
    # The mean stays off the ends of the range, where everything would clip.
    offset = float(np.clip(mean + offset, min(mean, 30.0), max(mean, 225.0))) - mean
    table = (np.arange(256) - mean) * max(factor, 0.05) + mean + offset
    return np.clip(np.round(table), 0, 255).astype(np.uint8)[image]


def _gamma(image: Image, exponent: float) -> Image:
    return np.round(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)[image]


def _shade(image: Image, opacity: float, rng: np.random.Generator) -> Image:
    """Soft dark (opacity > 0) or light (< 0) ellipses, drawn at an eighth of the size."""
    height, width = image.shape[:2]
    small = np.zeros((height // 8 + 2, width // 8 + 2), np.float32)
    longest = max(small.shape)
    for _ in range(int(rng.integers(1, 8))):
        centre = (int(rng.integers(small.shape[1])), int(rng.integers(small.shape[0])))
        axes = (int(rng.integers(1, longest // 2 + 2)), int(rng.integers(1, longest // 2 + 2)))
        cv2.ellipse(small, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    small = cv2.blur(small, (5, 5))
    mask = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return _multiplied(image, 1 - mask * np.float32(opacity))


def _lamplight(image: Image, darkness: float, rng: np.random.Generator) -> Image:
    """Light of one to three lamps, `darkness` times less in the darkest place than in the brightest."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0 : height // 8 + 2, 0 : width // 8 + 2].astype(np.float32)
    light = np.zeros_like(x)
    for _ in range(int(rng.integers(1, 4))):
        # Python's numbers leave arrays in float32 under every version of NumPy.
        across, down, strength = *rng.uniform(-0.2, 1.2, 2).tolist(), float(rng.uniform(0.3, 1.0))
        reach = float(np.exp(rng.uniform(np.log(0.1), np.log(0.8)))) * max(x.shape)
        apart = (x - across * x.shape[1]) ** 2 + (y - down * x.shape[0]) ** 2
        light += strength / (1 + apart / reach**2)
    light = (light - light.min()) / max(float(np.ptp(light)), 1e-6)
    field = (1 + (darkness - 1) * light) * (float(rng.uniform(1.0, min(darkness, 3.0))) / darkness)
    field = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    return _multiplied(image, np.asarray(field))


def _motion_blur(image: Image, length: float, rng: np.random.Generator) -> Image:
    radius = int(np.ceil(length / 2))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    ends = np.round((np.array([-reach, reach]) + radius) * 256).astype(int).tolist()
    stroke = np.zeros(kernel.shape, np.uint8)
    cv2.line(stroke, ends[0], ends[1], 255, 1, cv2.LINE_AA, 8)
    kernel[:] = stroke
    kernel += kernel[::-1, ::-1]  # exactly symmetric: rounding must not shift the image
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8)


def _speckle(image: Image, share: float, rng: np.random.Generator) -> Image:
    """A share of the pixels black or white."""
    count = int(share * image.size)
    if count == 0:
        return image
    image = image.copy()
    image.reshape(-1)[rng.integers(0, image.size, count)] = rng.integers(0, 2, count, dtype=np.uint8) * np.uint8(255)
    return image


def _compress(image: Image, quality: float, down: int, right: int) -> Image:
    """JPEG with blocks shifted by (down, right) pixels: aligned ones would show the network where its cells begin."""
    padded = cv2.copyMakeBorder(image, down, 0, right, 0, cv2.BORDER_REPLICATE)
    _, file = cv2.imencode(".jpg", padded, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), np.uint8)[down:, right:]
