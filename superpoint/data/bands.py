"""Read images of a given number of channels: grey, RGB, or the bands of a file as they are stored."""

import io
import logging
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.data.images import (
    check_size,
    guarded,
    open_image,
    read_gray,
    read_orientation,
    read_rgb,
    read_with_opencv,
)
from superpoint.data.levels import convert, to_8_bits
from superpoint.data.tiff import page_of
from superpoint.errors import UserError
from superpoint.geometry.orientation import turned_image

ARRAY = ".npy"
COLOURS = (1, 3, 4)  # channels of an array [H, W, C] of whatever is shown: grey, RGB, RGBA
PLANES = (1, 3)  # of an array [C, H, W]; any other [N, H, W] is a stack
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it cannot read it raises too


def read_image(
    path: str | Path, channels: int = 1, *, content: bytes | None = None, upright: bool = True
) -> NDArray[np.uint8]:
    """Read an image as uint8: grey [H, W] (1 channel), RGB [H, W, 3], else its first bands [H, W, channels] as stored.

    Bands are the samples of a TIFF (three, too, if they are no colours), or its pages while they have the size of the
    first; those of a file with transparency or CMYK; or the last axis of a .npy array. Beyond 8 bits each is stretched
    between its own percentiles, since radar and infrared have ranges of their own; RGB is stretched as a whole, and for
    it a grey image is repeated.

    Args:
        content, upright: see `read_gray`.

    Raises: UserError as `read_gray`, for fewer bands than channels, and for a TIFF of bands without tifffile.
    """
    path = Path(path)
    if path.suffix.lower() == ARRAY:
        return guarded(path, content, lambda: array_image(_load_array(path, content), str(path), channels))
    if channels == 1:
        return read_gray(path, content=content, upright=upright)
    if channels == 3 and not page_of(path, content).bands:
        return read_rgb(path, content=content, upright=upright)
    pixels = guarded(path, content, lambda: _decode(path, channels, content))
    return turned_image(pixels, read_orientation(path, content)) if upright else pixels


def array_image(pixels: NDArray[np.generic], name: str, channels: int = 1) -> NDArray[np.uint8]:
    """Return an array [H, W], [H, W, C] or [C, H, W] as `read_image` reads a file.

    Raises: UserError, which begins with `name`, if it cannot be an image, or has fewer channels.
    """
    coloured = channels in (1, 3)
    if pixels.ndim == 3:
        planes = pixels.shape[2] not in COLOURS and pixels.shape[0] in PLANES
        pixels = pixels.transpose(1, 2, 0) if planes or (not coloured and pixels.shape[0] < pixels.shape[2]) else pixels
        pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    odd = coloured and pixels.ndim == 3 and pixels.shape[2] not in COLOURS
    if odd or pixels.ndim not in (2, 3) or 0 in pixels.shape or pixels.dtype.kind not in "buif":
        found = f"an array of {pixels.dtype} {list(pixels.shape)}"
        raise UserError(f"{name}: found {found}, expected numbers [H, W] or [H, W, C]")
    if coloured:
        return convert(pixels, "L" if channels == 1 else "RGB")
    return stretched(pixels, name, channels)


def check_colours(channels: int) -> None:
    """Raise UserError for a network that sees neither grey nor RGB."""
    if channels not in (1, 3):
        raise UserError(f"model: found a network of {channels} channels, expected 1 or 3: these are photographs")


def in_channels(rgb: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Return a photograph [H, W, 3] for a network of grey or of RGB. Raises: UserError for other channels."""
    check_colours(channels)
    return rgb if channels == 3 else np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def stretched(pixels: NDArray[np.generic], name: str, channels: int, nodata: float | None = None) -> NDArray[np.uint8]:
    """Return the first bands of [H, W] or [H, W, C] as uint8, each stretched alone."""
    bands = pixels[:, :, None] if pixels.ndim == 2 else pixels
    found = bands.shape[2]
    if found < channels:
        raise UserError(f"{name}: found {found} channel{'s' if found > 1 else ''}, expected {channels}")
    return np.dstack([to_8_bits(bands[:, :, band], stretch=True, nodata=nodata) for band in range(channels)])


def _load_array(path: Path, content: bytes | None) -> NDArray[np.generic]:
    with path.open("rb") if content is None else io.BytesIO(content) as stream:
        pixels = np.load(stream, allow_pickle=False)
    if not isinstance(pixels, np.ndarray):
        raise UserError(f"{path}: found several arrays, expected one")
    return pixels


def _decode(path: Path, channels: int, content: bytes | None) -> NDArray[np.uint8]:
    page = page_of(path, content)
    if page.is_tiff:  # of bands OpenCV and Pillow drop some, multiply them by the fourth, or refuse
        with path.open("rb") if content is None else io.BytesIO(content) as stream:
            return stretched(_decode_tiff(path, channels, stream, page.number), str(path), channels, page.nodata)
    with open_image(path, content, page) as image:
        check_size(path, image.height, image.width)
        if any(";16" in str(tile) for tile in getattr(image, "tile", ())):
            pixels = read_with_opencv(path, content)
            pixels = pixels[:, :, ::3] if image.mode == "LA" and pixels.ndim == 3 else pixels
        else:
            pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
        return stretched(pixels, str(path), channels)


def _decode_tiff(path: Path, channels: int, stream: BinaryIO, number: int) -> NDArray[np.generic]:
    """Decode at least `channels` bands, if there are as many, from page `number` on: [H, W, bands]."""
    try:
        import tifffile  # not required: scikit-image brings it
    except ImportError as error:
        raise UserError(f"{path}: a TIFF of bands needs the package tifffile: pip install tifffile") from error
    bands: list[NDArray[np.generic]] = []
    with tifffile.TiffFile(stream) as file:
        pages = file.pages[number:]
        check_size(path, pages[0].imagelength, pages[0].imagewidth)
        for page in pages:
            if len(bands) >= channels or page.shape != pages[0].shape:  # a copy of another size
                break
            pixels = page.asarray()
            bands += list(np.moveaxis(pixels, page.axes.index("S"), 0)) if "S" in page.axes else [pixels]
    return np.dstack(bands)
