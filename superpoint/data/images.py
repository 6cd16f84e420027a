"""Read images of any kind as uint8, resize them with their points; the sample photographs."""

import importlib.util
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from superpoint.errors import UserError, one_line
from superpoint.geometry.homography import resize_points

MAX_PIXELS = 178_956_970  # Pillow's own limit: 0.5 GB of RGB
PERCENTILES = (0.1, 99.9)  # the range that is shown of more than 8 bits
BLOCK = 1 << 20  # values of more than 8 bits converted at once
SAMPLED = 1 << 22  # values that percentiles are taken from: sorting all may take half a minute
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")  # more than 8 bits
PHOTOGRAPHS = (
    *("astronaut", "camera", "coffee", "chelsea", "coins", "rocket", "motorcycle_left", "motorcycle_right"),
    *("clock_motion", "page", "text", "brick", "grass", "gravel", "moon"),
)


@contextmanager
def own_limit() -> Iterator[None]:
    """Switch off Pillow's pixel limit, which warns from half of it on; this module checks MAX_PIXELS."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def read_gray(path: str | Path, *, stretch: bool = True, content: bytes | None = None) -> NDArray[np.uint8]:
    """Read an image as grey levels uint8 [H, W], upright by its EXIF orientation.

    Palettes, CMYK, transparency (laid on white) and animations (first frame) are converted; colours become the luma of
    ITU-R BT.601. More than 8 bits are mapped linearly from their 0.1 .. 99.9 percentiles to 0..255; NaN and infinity
    become the lowest value.

    Args:
        path: any format that Pillow or OpenCV decodes.
        stretch: False maps the full range of the type instead: 0..65535 (divided by 257) or 0.0..1.0, clipped.
        content: bytes of the file, if it is in memory; `path` then only names it in errors.

    Raises: UserError if it is missing, empty, truncated, not an image, or above 178 megapixels.
    """
    return _read(Path(path), "L", stretch, content)


def read_rgb(path: str | Path, *, stretch: bool = True) -> NDArray[np.uint8]:
    """Read an image as uint8 [H, W, 3] RGB; see `read_gray`."""
    return _read(Path(path), "RGB", stretch)


def resize_with_points(
    image: NDArray[np.uint8], points: NDArray[np.floating], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Resize an image [H, W] or [H, W, C] and its points [N, 2] (x, y) to `size` (height, width).

    Points move by x -> (x + 0.5) * s - 0.5. An axis that shrinks is averaged, one that grows is interpolated.
    """
    (old_height, old_width), (height, width) = image.shape[:2], size
    # Two steps, because INTER_AREA silently interpolates both axes if one of them grows.
    shrunk = (min(width, old_width), min(height, old_height))
    if shrunk != (old_width, old_height):
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if shrunk != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return image, resize_points(points, width / old_width, height / old_height)


def sample_photographs() -> list[tuple[str, NDArray[np.uint8]]]:
    """Return the photographs of scikit-image as (name, uint8 [H, W, 3] RGB). Raises: UserError without it."""
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise UserError("the sample photographs need scikit-image: pip install 'superpoint[samples]'")
    folder = Path(package.origin).parent / "data"
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in (".png", ".jpg")}
    samples = [(name, read_rgb(files[name])) for name in PHOTOGRAPHS if name in files]
    if not samples:
        raise UserError(f"{folder}: found no sample photograph, expected e.g. camera.png; reinstall scikit-image")
    return samples


def _read(path: Path, mode: str, stretch: bool, content: bytes | None = None) -> NDArray[np.uint8]:
    try:
        if content is None and path.is_dir():
            raise UserError(f"{path}: found a folder, expected an image file")
        if (path.stat().st_size if content is None else len(content)) == 0:
            raise UserError(f"{path}: found an empty file, expected an image")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd metadata, transparency, size: handled here or of no consequence
            return _decode(path, mode, stretch, content)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file, expected an image") from error
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: {_too_large(str(error))}") from error
    except Exception as error:  # decoders raise nearly anything for damaged files
        raise UserError(f"{path}: cannot be read as an image ({one_line(error)})") from error


def _decode(path: Path, mode: str, stretch: bool, content: bytes | None) -> NDArray[np.uint8]:
    try:
        image = Image.open(path if content is None else io.BytesIO(content))
    except UnidentifiedImageError:
        return _decode_with_opencv(path, mode, stretch, content)
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f"{path}: {_too_large(f'{image.width} x {image.height} pixels')}")
        if image.mode not in WIDE_MODES and any(";16" in str(tile) for tile in image.tile):
            return _decode_with_opencv(path, mode, stretch, content)
        if mode == "L" and image.format == "JPEG" and image.mode == "RGB":
            image.draft("L", image.size)  # decodes the luma only: half the time
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode in WIDE_MODES:
            return _in_mode(to_8_bits(np.asarray(image), stretch), mode)
        if image.has_transparency_data:
            colours = image.convert("RGBA")
            white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
            return np.array(Image.alpha_composite(white, colours).convert(mode))
        if image.mode == "P":
            return np.array(image.convert("RGB").convert(mode))
        return np.array(image.convert(mode))


def _decode_with_opencv(path: Path, mode: str, stretch: bool, content: bytes | None) -> NDArray[np.uint8]:
    """Decode what Pillow does not know or cuts to 8 bits: colours of 16 bits or floating point, 64-bit floats, HDR."""
    data = np.fromfile(path, np.uint8) if content is None else np.frombuffer(content, np.uint8)
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if pixels is None:
        raise UserError(f"{path}: found a file that is not an image, or one too damaged to tell")
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise UserError(f"{path}: {_too_large(f'{pixels.shape[1]} x {pixels.shape[0]} pixels')}")
    if pixels.ndim == 3:
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]] if pixels.shape[2] > 2 else pixels[:, :, 0]
    return convert(pixels, mode, stretch)


def convert(pixels: NDArray[np.generic], mode: str = "L", stretch: bool = True) -> NDArray[np.uint8]:
    """Convert numbers [H, W] or [H, W, 3 or 4] as `read_gray` ("L") or `read_rgb` ("RGB") converts an image."""
    if pixels.ndim == 2:
        return _in_mode(to_8_bits(pixels, stretch), mode)
    rgb = to_8_bits(pixels[:, :, :3], stretch)
    if pixels.shape[2] == 4:
        for rows in _blocks(pixels):
            alpha = to_8_bits(pixels[rows, :, 3:], stretch=False) / 255.0
            rgb[rows] = np.rint(rgb[rows] * alpha + 255.0 * (1 - alpha)).astype(np.uint8)
    return _in_mode(rgb, mode)


def to_8_bits(pixels: NDArray[np.generic], stretch: bool) -> NDArray[np.uint8]:
    """Return integers or floats of any shape as uint8, by the rule of `read_gray`.

    Works block by block: a 16-bit image of 108 megapixels would take 4 GB as floats.
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8)
    lowest, highest = _extremes(pixels)
    if lowest > highest:  # nothing is finite
        return np.zeros(pixels.shape, np.uint8)
    limits = _range(pixels, lowest, highest) if stretch else (0.0, 1.0 if pixels.dtype.kind == "f" else 65535.0)
    result = np.empty(pixels.shape, np.uint8)
    for rows in _blocks(pixels):
        result[rows] = _scaled(pixels[rows], lowest, *limits)
    return result


def _scaled(pixels: NDArray[np.generic], lowest: float, low: float, high: float) -> NDArray[np.uint8]:
    """Map low..high linearly to 0..255; values that are not finite count as `lowest`."""
    values = pixels.astype(np.float64)
    values = np.where(np.isfinite(values), values, lowest)
    scaled = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)


def _blocks(pixels: NDArray[np.generic]) -> Iterator[slice]:
    """The rows in groups of about BLOCK values."""
    step = max(1, BLOCK * len(pixels) // max(pixels.size, 1))
    return (slice(start, start + step) for start in range(0, len(pixels), step))


def _range(pixels: NDArray[np.generic], lowest: float, highest: float) -> tuple[float, float]:
    """Percentiles of the finite values, of an even grid of pixels beyond SAMPLED values."""
    step = max(1, math.ceil(math.sqrt(pixels.size / SAMPLED)))
    sample = pixels[::step, ::step].astype(np.float64)
    finite = sample[np.isfinite(sample)]
    low, high = np.percentile(finite, PERCENTILES) if finite.size else (lowest, lowest)
    if high == low:  # nearly all pixels alike: show what differs
        low, high = lowest, highest
    return float(low), float(high)


def _extremes(pixels: NDArray[np.generic]) -> tuple[float, float]:
    """Least and greatest finite value; (inf, -inf) if there is none."""
    least, greatest = math.inf, -math.inf
    for rows in _blocks(pixels):
        values = pixels[rows].astype(np.float64)
        finite = values[np.isfinite(values)]
        least, greatest = min(least, finite.min(initial=math.inf)), max(greatest, finite.max(initial=-math.inf))
    return float(least), float(greatest)


def _in_mode(pixels: NDArray[np.uint8], mode: str) -> NDArray[np.uint8]:
    if pixels.ndim == 2 and mode == "L":
        return pixels
    return np.array(Image.fromarray(np.ascontiguousarray(pixels)).convert(mode))


def _too_large(found: str) -> str:
    return f"too large ({found}), expected at most {MAX_PIXELS // 1_000_000} megapixels"
