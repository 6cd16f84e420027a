"""What tags say: EXIF orientations in any format, pages of TIFF, values for "no data"."""

import io
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from superpoint.data.images import read_gray, read_orientation, read_rgb
from superpoint.data.levels import to_8_bits
from superpoint.geometry.orientation import TURNS, turned_image

STORED = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8)
RAMP = np.tile(np.linspace(300, 350, 60, dtype=np.float32), (40, 1))


def png_with(content: bytes, orientation: int) -> bytes:
    """A PNG with an eXIf chunk behind its header (OpenCV writes none, and Pillow no colours of 16 bits)."""
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + orientation.to_bytes(2, "big") + b"\0\0\0\0\0\0"
    chunk = len(exif).to_bytes(4, "big") + b"eXIf" + exif
    return content[:33] + chunk + zlib.crc32(b"eXIf" + exif).to_bytes(4, "big") + content[33:]


def tiff(pages: list[np.ndarray], tags: list[dict[int, object]]) -> bytes:
    """A TIFF of several pages, each with tags: number -> int (a long) or text."""
    infos = []
    for each in tags:
        info = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in each.items():
            info[tag] = value
            info.tagtype[tag] = 2 if isinstance(value, str) else 4
        infos.append(info)
    content = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(content) as writer:
        for page, info in zip(pages, infos, strict=True):
            Image.fromarray(page).save(writer, "TIFF", tiffinfo=info)
            writer.newFrame()
    return content.getvalue()


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["png", "webp", "jpg", "tif", "16-bit tif", "16-bit colours.png", "colours.tif"])
def test_an_image_can_be_read_in_either_frame(kind: str, orientation: int, tmp_path: Path) -> None:
    path, exif = tmp_path / f"a.{kind.rpartition('.')[2].split()[-1]}", Image.Exif()
    exif[0x0112] = orientation
    colours, stored = np.dstack([STORED] * 3), STORED
    if kind == "16-bit colours.png":
        path.write_bytes(png_with(cv2.imencode(".png", colours.astype(np.uint16) * 257)[1].tobytes(), orientation))
    elif kind == "16-bit tif":
        Image.fromarray(STORED.astype(np.uint16) * 257).save(path, exif=exif)
    elif kind == "colours.tif":
        Image.fromarray(colours).save(path, exif=exif)
    else:
        stored = STORED if kind == "tif" else STORED.repeat(16, axis=0).repeat(16, axis=1)  # for lossy formats
        Image.fromarray(stored).save(path, exif=exif, quality=100)
    assert read_orientation(path) == read_orientation("a", path.read_bytes()) == orientation
    np.testing.assert_allclose(read_gray(path, stretch=False, upright=False).astype(int), stored, atol=4)
    upright = turned_image(stored, orientation).astype(int)
    np.testing.assert_allclose(read_gray(path, stretch=False).astype(int), upright, atol=4)
    np.testing.assert_allclose(read_rgb(path, stretch=False)[:, :, 1].astype(int), upright, atol=4)


def test_colours_of_floats_that_only_opencv_decodes_have_both_frames() -> None:
    """Their tags are read by hand; OpenCV has turned the pixels already."""
    tifffile = pytest.importorskip("tifffile")
    values = (np.dstack([STORED] * 3) / 255).astype(np.float32)
    for orientation in TURNS:
        content = io.BytesIO()
        tifffile.imwrite(content, values, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
        data = content.getvalue()
        assert read_orientation("a.tif", data) == orientation
        assert np.array_equal(read_gray("a.tif", content=data, stretch=False, upright=False), STORED)
        upright = turned_image(STORED, orientation)
        assert np.array_equal(read_gray("a.tif", content=data, stretch=False), upright)


@pytest.mark.parametrize("reduced", [{254: 1}, {255: 2}, {254: 4}, {254: 5}])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_first_page_of_full_resolution_is_the_image(reduced: dict[int, object], dtype: type) -> None:
    small, full = np.full((3, 4), 9, dtype), STORED.astype(dtype) * (1 if dtype is np.uint8 else 257)
    data = tiff([small, full, small], [reduced, {}, {}])
    assert np.array_equal(read_gray("a.tif", content=data, stretch=False), STORED)
    assert read_gray("a.tif", content=tiff([small], [reduced])).shape == (3, 4)  # there is no other


def test_reduced_pages_before_colours_that_opencv_decodes() -> None:
    tifffile = pytest.importorskip("tifffile")
    content = io.BytesIO()
    with tifffile.TiffWriter(content) as writer:
        for shape, kind in (((3, 4, 3), 1), ((6, 8, 3), 0)):
            pixels = np.broadcast_to(cv2.resize(STORED, shape[1::-1])[:, :, None], shape)
            writer.write(pixels.astype(np.float32) / 255, photometric="rgb", subfiletype=kind)
    assert np.array_equal(read_gray("a.tif", content=content.getvalue(), stretch=False), STORED)


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        (np.float32, -9999, "-9999"),
        (np.float32, -9999, " -9999.0 \0"),
        (np.float32, -3.4028234663852886e38, "-3.40282e+38"),
        (np.float32, -3.4028234663852886e38, "-1.7976931348623157e+308"),  # the lowest of float64, cut
        (np.float32, -3.4028234663852886e38, ""),  # without a tag: no measurement
        (np.float32, 1e20, "1e20"),
        (np.float32, np.nan, "nan"),
        (np.uint16, 65535, "65535"),
        (np.uint16, 0, "0"),
        (np.int32, -32768, "-32768"),
        (np.int32, -1, "4294967295"),  # Pillow reads unsigned numbers as signed ones
    ],
)
def test_no_data_does_not_set_the_range(dtype: type, value: float, text: str) -> None:
    pixels = RAMP.astype(dtype)
    pixels[:, :10] = value
    gray = read_gray("a.tif", content=tiff([pixels], [{42113: text} if text else {}]))
    expected = read_gray("a.tif", content=tiff([pixels[:, 10:]], [{}]))
    assert not gray[:, :10].any()
    assert np.abs(gray[:, 10:].astype(int) - expected).max() <= 1


def test_no_data_of_8_bits_is_as_dark_as_the_darkest_pixel() -> None:
    pixels = np.tile(np.arange(50, 110, dtype=np.uint8), (40, 1))
    pixels[:, :10] = 255
    gray = read_gray("a.tif", content=tiff([pixels], [{42113: "255"}]))
    assert (gray[:, :10] == 60).all()
    assert np.array_equal(gray[:, 10:], pixels[:, 10:])
    colours = np.dstack([pixels, pixels, np.full_like(pixels, 255)])  # a blue of 255 is a colour, white is none
    rgb = to_8_bits(colours, stretch=True, nodata=255)
    assert (rgb[:, :10] == 60).all()
    assert np.array_equal(rgb[:, 10:], colours[:, 10:])


def test_no_data_of_several_bands() -> None:
    """Colours of 16 bits come from OpenCV; a pixel without data in one band does not collapse the others."""
    tifffile = pytest.importorskip("tifffile")
    bands = np.dstack([RAMP, RAMP, RAMP]).astype(np.float32)
    bands[:, :10, 1] = -9999
    content = io.BytesIO()
    tifffile.imwrite(content, bands, photometric="rgb", extratags=[(42113, "s", 0, "-9999", True)])
    gray = read_gray("a.tif", content=content.getvalue())
    assert gray[:, 10:].std() > 50
