"""Numbers of any type as grey levels of 8 bits."""

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

PERCENTILES = (0.1, 99.9)  # the range that is shown of more than 8 bits
BLOCK = 1 << 20  # values of more than 8 bits converted at once
SAMPLED = 1 << 22  # values that percentiles are taken from: sorting all may take half a minute
OUTLIERS = 0.03  # share of pixels, bright or dark, that may be left out of the range for the sake of the others
COLLAPSE = 0.25  # they are if the others would share less than this of the grey levels
HUGE = 1e38  # floats beyond are no measurements: -3.4e38 stands for "no data"


def convert(
    pixels: NDArray[np.generic], mode: str = "L", stretch: bool = True, nodata: float | None = None
) -> NDArray[np.uint8]:
    """Convert numbers [H, W] or [H, W, 3 or 4] as `read_gray` ("L") or `read_rgb` ("RGB") converts an image."""
    if pixels.ndim == 2:
        return _in_mode(to_8_bits(pixels, stretch, nodata), mode)
    rgb = to_8_bits(pixels[:, :, :3], stretch, nodata)
    if pixels.shape[2] == 4 and np.ptp(pixels[:, :, 3]):  # not the same everywhere
        for rows in _blocks(pixels):
            alpha = to_8_bits(pixels[rows, :, 3:], stretch=False) / 255.0
            rgb[rows] = np.rint(rgb[rows] * alpha + 255.0 * (1 - alpha)).astype(np.uint8)
    return _in_mode(rgb, mode)


def to_8_bits(pixels: NDArray[np.generic], stretch: bool, nodata: float | None = None) -> NDArray[np.uint8]:
    """Return truth values, integers or floats of any shape as uint8, by the rule of `read_gray`.

    Works block by block: a 16-bit image of 108 megapixels would take 4 GB as floats.
    """
    if pixels.dtype == np.bool_:
        return pixels * np.uint8(255)
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8) if nodata is None else _filled(pixels.astype(np.uint8), nodata)
    lowest, highest = _extremes(pixels, nodata)
    if lowest > highest:  # nothing is finite
        return np.zeros(pixels.shape, np.uint8)
    limits = _range(pixels, lowest, highest, nodata) if stretch else (0.0, 1.0 if pixels.dtype.kind == "f" else 65535.0)
    result = np.empty(pixels.shape, np.uint8)
    for rows in _blocks(pixels):
        result[rows] = _scaled(_values(pixels[rows], nodata), lowest, *limits)
    return result


def _filled(pixels: NDArray[np.uint8], nodata: float) -> NDArray[np.uint8]:
    """Pixels [H, W] or [H, W, C] with the darkest other value in those where all channels say "no data"."""
    gone = np.asarray(pixels == nodata)
    gone = gone.all(axis=2) if pixels.ndim == 3 else gone
    pixels[gone] = 0 if gone.all() else pixels[~gone].min()
    return pixels


def _values(pixels: NDArray[np.generic], nodata: float | None) -> NDArray[np.float64]:
    """Numbers as float64; NaN where they are no measurement."""
    values = pixels.astype(np.float64)
    if pixels.dtype.kind != "f":
        if nodata is not None:
            values[values == nodata] = np.nan
        return values
    if nodata is not None:  # as text it has been rounded
        nodata = float(np.clip(nodata, np.finfo(pixels.dtype).min, np.finfo(pixels.dtype).max))  # type: ignore[arg-type]
        values[np.abs(values - nodata) <= 2e-6 * abs(nodata)] = np.nan
    values[~(np.abs(values) < HUGE)] = np.nan
    return values


def _scaled(values: NDArray[np.float64], lowest: float, low: float, high: float) -> NDArray[np.uint8]:
    """Map low..high linearly to 0..255; NaN counts as `lowest`."""
    values = np.where(np.isnan(values), lowest, values)
    scaled = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)


def _blocks(pixels: NDArray[np.generic]) -> Iterator[slice]:
    """The rows in groups of about BLOCK values."""
    step = max(1, BLOCK * len(pixels) // max(pixels.size, 1))
    return (slice(start, start + step) for start in range(0, len(pixels), step))


def _range(pixels: NDArray[np.generic], lowest: float, highest: float, nodata: float | None) -> tuple[float, float]:
    """Percentiles of the measured values, of an even grid of pixels beyond SAMPLED values."""
    step = max(1, math.ceil(math.sqrt(pixels.size / SAMPLED)))
    sample = _values(pixels[::step, ::step], nodata)
    measured = ~np.isnan(sample)
    low, high = np.percentile(sample[measured], PERCENTILES) if measured.any() else (lowest, lowest)
    if high == low:  # nearly all pixels alike: show what differs
        return lowest, highest
    # Saturated and dead pixels have an extreme value; others of the kind stand out from the pixels around them.
    filled = np.where(measured, sample, low).astype(np.float32).reshape(*sample.shape[:2], -1)
    calm = np.dstack([cv2.medianBlur(filled[:, :, k], 3) for k in range(filled.shape[2])]).reshape(sample.shape)
    kept, far = measured.copy(), COLLAPSE * (high - low)
    for outliers in ((sample == highest) | (sample - calm > far), (sample == lowest) | (calm - sample > far)):
        if 0 < outliers.sum() <= OUTLIERS * measured.sum():
            kept &= ~outliers
    inner = np.percentile(sample[kept], PERCENTILES)
    return tuple(inner.tolist()) if 0 < inner[1] - inner[0] < far else (float(low), float(high))


def _extremes(pixels: NDArray[np.generic], nodata: float | None) -> tuple[float, float]:
    """Lowest and highest measured value; (inf, -inf) if there is none."""
    lowest, highest = math.inf, -math.inf
    for rows in _blocks(pixels):
        values = _values(pixels[rows], nodata)
        lowest = float(np.fmin.reduce(values, axis=None, initial=lowest))  # passes over NaN
        highest = float(np.fmax.reduce(values, axis=None, initial=highest))
    return lowest, highest


def _in_mode(pixels: NDArray[np.uint8], mode: str) -> NDArray[np.uint8]:
    if pixels.ndim == 2 and mode == "L":
        return pixels
    return np.array(Image.fromarray(np.ascontiguousarray(pixels)).convert(mode))
