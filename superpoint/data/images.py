"""Read images of any kind as uint8, resize them with their points; the sample photographs."""

import importlib
import importlib.util
import io
import math
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features

from superpoint.data.levels import convert
from superpoint.data.tiff import ORIENTATION, Page, page_of, valid_orientation
from superpoint.errors import UserError, one_line
from superpoint.geometry.homography import resize_points
from superpoint.geometry.orientation import turned_back, turned_image, turned_size

MAX_PIXELS = 1 << 29  # 2 GB of RGB in Pillow
BANDS = "found several bands that are no colours, expected grey levels or RGB; model.channels is for bands"
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")  # more than 8 bits
EXIF, FOCAL_IN_35_MM, FILM = 0x8769, 0xA405, 36.0  # EXIF 2.32: the directory, the tag; mm, width of the film it is for
PHOTOGRAPHS = (
    *("astronaut", "camera", "coffee", "chelsea", "coins", "rocket", "motorcycle_left", "motorcycle_right"),
    *("clock_motion", "page", "text", "brick", "grass", "gravel", "moon"),
)


_opening = threading.Lock()


def read_gray(
    path: str | Path, *, stretch: bool = True, content: bytes | None = None, upright: bool = True
) -> NDArray[np.uint8]:
    """Read an image as grey levels uint8 [H, W].

    Palettes, CMYK, transparency (laid on white, unless the alpha is the same everywhere), animations (first frame) and
    TIFFs of several pages (first of full resolution) are converted; colours become the luma of ITU-R BT.601. More than
    8 bits are mapped linearly from their 0.1 .. 99.9 percentiles to 0..255, without a few hot or dead pixels that would
    leave the others less than a quarter of the grey levels. NaN, infinity and the value that a GeoTIFF has for "no
    data" become the lowest value.

    Args:
        path: any format that Pillow or OpenCV decodes.
        stretch: False maps the full range of the type instead: 0..65535 (divided by 257) or 0.0..1.0, clipped.
        content: bytes of the file, if it is in memory; `path` then only names it in errors.
        upright: turn it by its EXIF orientation; False = the pixels as stored.

    Raises: UserError if it is missing, empty, truncated, not an image, or above 536 megapixels.
    """
    return _read(Path(path), "L", stretch, content, upright)


def read_rgb(
    path: str | Path, *, stretch: bool = True, content: bytes | None = None, upright: bool = True
) -> NDArray[np.uint8]:
    """Read an image as uint8 [H, W, 3] RGB; see `read_gray`."""
    return _read(Path(path), "RGB", stretch, content, upright)


def read_orientation(path: str | Path, content: bytes | None = None) -> int:
    """Return the EXIF orientation of an image, 1..8; 1 also for a file that `read_gray` would refuse."""
    page = page_of(path, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(path, content, page) as image:
                return _orientation(image)
    except Exception:  # decoders raise nearly anything for damaged files
        return page.orientation


def read_focal(path: str | Path) -> tuple[float, tuple[int, int]] | None:
    """Return the focal length of a photograph in pixels, from EXIF's "in 35 mm", and its (width, height) upright.

    None if there is none, or the file cannot be read.
    """
    try:
        with Image.open(path) as image:
            exif = image.getexif()
            length = float(exif.get_ifd(EXIF).get(FOCAL_IN_35_MM) or 0) / FILM * max(image.size)
            size = turned_size(image.size, valid_orientation(exif.get(ORIENTATION)))
            return (length, size) if 0 < length < math.inf else None
    except Exception:  # decoders raise nearly anything for damaged files
        return None


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


def check_thin(size: tuple[int, ...], shrunk: tuple[int, ...], border: int) -> None:
    """Raise UserError if an image of `size` (height, width) has become too thin for a keypoint off its border."""
    height, width = shrunk
    if shrunk != size and min(shrunk) <= 2 * border:
        raise UserError(
            f"its resize to {width} x {height} pixels makes it too thin for keypoints, expected sides of at least "
            f"{2 * border + 1}; cut it into pieces, or resize it less"
        )


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


def _read(path: Path, mode: str, stretch: bool, content: bytes | None, upright: bool) -> NDArray[np.uint8]:
    return guarded(path, content, lambda: _decode(path, mode, stretch, content, upright))


def guarded(path: Path, content: bytes | None, decode: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return what `decode` makes of a file, or of its `content`. Raises: UserError as `read_gray`."""
    try:
        if content is None and path.is_dir():
            raise UserError(f"{path}: found a folder, expected an image file")
        if (path.stat().st_size if content is None else len(content)) == 0:
            raise UserError(f"{path}: found an empty file, expected an image")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd metadata, transparency, size: handled here or of no consequence
            return decode()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file, expected an image") from error
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: {_too_large(str(error))}") from error
    except Exception as error:  # decoders raise nearly anything for damaged files
        raise UserError(f"{path}: cannot be read as an image ({one_line(error)})") from error


def _decode(path: Path, mode: str, stretch: bool, content: bytes | None, upright: bool) -> NDArray[np.uint8]:
    page = page_of(path, content)
    try:
        image = open_image(path, content, page)
    except UnidentifiedImageError:
        pixels = convert(read_with_opencv(path, content), mode, stretch, page.nodata)
        return turned_image(pixels, page.orientation) if upright else pixels
    with image:
        check_size(path, image.height, image.width)
        orientation = _orientation(image)
        turn = orientation if upright else 1
        if image.mode not in WIDE_MODES and any(";16" in str(tile) for tile in getattr(image, "tile", ())):
            return turned_image(convert(read_with_opencv(path, content), mode, stretch, page.nodata), turn)
        if mode == "L" and image.format == "JPEG" and image.mode == "RGB":
            image.draft("L", image.size)  # decodes the luma only: half the time
        try:
            image.load()
        except ValueError as error:  # no mode of Pillow has these bands
            if not page.bands:
                raise
            raise UserError(f"{path}: {BANDS}") from error
        if page.is_tiff:  # newer versions of Pillow turn these while they load them
            ImageOps.exif_transpose(image, in_place=True)
            turn = 1 if upright else turned_back(orientation)
        return turned_image(_converted(image, mode, stretch, page.nodata), turn)


def open_image(path: str | Path, content: bytes | None, page: Page) -> Image.Image:
    """Open an image by Pillow. Raises: UnidentifiedImageError."""
    if content is None and page.orientation > 4:  # Pillow 12 maps such a TIFF into memory with its sides exchanged
        content = Path(path).read_bytes()
    with _opening:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # Pillow's limit, of all threads
        try:
            image = _opened(path, content)
            image.seek(page.number)
            return image
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _opened(path: str | Path, content: bytes | None) -> Image.Image:
    try:
        return Image.open(path if content is None else io.BytesIO(content))
    except UnidentifiedImageError:
        if importlib.util.find_spec("pillow_heif") is None:
            raise
        importlib.import_module("pillow_heif").register_heif_opener()
        return Image.open(path if content is None else io.BytesIO(content))


def _orientation(image: Image.Image) -> int:
    """Return the orientation of an image that is not loaded yet.

    PngImageFile's own method decodes the image first, for the sake of tags that follow the pixels.
    """
    return valid_orientation(Image.Image.getexif(image).get(ORIENTATION))


def _converted(image: Image.Image, mode: str, stretch: bool, nodata: float | None) -> NDArray[np.uint8]:
    if image.mode in WIDE_MODES or (nodata is not None and image.mode in ("L", "RGB")):
        if image.mode == "I" and nodata is not None and nodata >= 2**31:
            nodata -= 2**32  # Pillow reads unsigned numbers of 32 bits as signed ones
        return convert(np.asarray(image), mode, stretch, nodata)
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        low, high = colours.getchannel("A").getextrema()
        if low == high:  # an alpha that hides everything, or is not used
            return np.array(colours.convert("RGB").convert(mode))
        white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
        return np.array(Image.alpha_composite(white, colours).convert(mode))
    return np.array((image.convert("RGB") if image.mode == "P" else image).convert(mode))


def read_with_opencv(path: Path, content: bytes | None) -> NDArray[np.generic]:
    """Decode what Pillow does not know or cuts to 8 bits: colours of 16 bits or floating point, 64-bit floats, HDR.

    Return numbers [H, W] or [H, W, 3 or 4] (RGB), as stored.
    """
    page = page_of(path, content)
    data = np.fromfile(path, np.uint8) if content is None else np.frombuffer(content, np.uint8)
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        if page.number:
            _, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(page.number, page.number + 1))
            pixels = pages[0] if pages else None
        else:
            pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if pixels is None:
        reason = BANDS if page.bands else _missing_plug_in(path.suffix.lower(), data[:12].tobytes())
        raise UserError(f"{path}: {reason}")
    check_size(path, *pixels.shape[:2])
    if page.is_tiff:  # OpenCV turns these whatever it is told
        pixels = turned_image(pixels, turned_back(page.orientation))
    if pixels.ndim == 3:
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]] if pixels.shape[2] > 2 else pixels[:, :, 0]
    return pixels


def _missing_plug_in(suffix: str, head: bytes) -> str:
    """What is wrong with a file that no decoder knows, by its extension and first bytes."""
    brand = head[8:11] if head[4:8] == b"ftyp" else b""
    if (suffix == ".avif" or brand == b"avi") and not features.check("avif"):
        return "found AVIF (.avif), which needs Pillow 11.3 or newer: pip install -U pillow"
    heic = suffix in (".heic", ".heif", ".hif") or brand in (b"hei", b"hev", b"mif", b"msf")
    if heic and importlib.util.find_spec("pillow_heif") is None:
        return "found HEIC (.heic), which needs pillow-heif: pip install 'superpoint[heif]'"
    return "found a file that is not an image, or one too damaged to tell"


def check_size(path: Path, height: int, width: int) -> None:
    """Raise UserError for an image of more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise UserError(f"{path}: {_too_large(f'{width} x {height} pixels')}")


def _too_large(found: str) -> str:
    return f"too large ({found}), expected at most {MAX_PIXELS // 1_000_000} megapixels"
