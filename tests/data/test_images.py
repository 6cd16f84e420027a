import importlib.util
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from superpoint.data import levels
from superpoint.data.images import read_gray, read_rgb, resize_with_points, sample_photographs
from superpoint.errors import UserError
from tests.drawing import centroid, gray_spots

RAMP = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))  # [40, 60]


def colours() -> np.ndarray:
    """[40, 60, 3], smooth, so that JPEG keeps it."""
    return np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)


class TestColours:
    @pytest.mark.parametrize(("name", "within"), [("a.png", 0), ("a.jpg", 6)])
    def test_luma_and_colours(self, tmp_path: Path, name: str, within: int) -> None:
        Image.fromarray(colours()).save(tmp_path / name, quality=95)
        gray, rgb = read_gray(tmp_path / name), read_rgb(tmp_path / name)
        assert gray.dtype == np.uint8
        assert gray.flags.writeable
        assert np.abs(rgb.astype(int) - colours()).max() <= within
        assert np.abs(gray - colours() @ np.array([0.299, 0.587, 0.114])).max() <= max(1, within)

    def test_cmyk_jpeg(self, tmp_path: Path) -> None:
        Image.fromarray(colours()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
        assert np.abs(read_rgb(tmp_path / "a.jpg").astype(int) - colours()).mean() <= 3

    def test_transparency_is_laid_on_white(self, tmp_path: Path) -> None:
        pixels = np.zeros((4, 4, 4), np.uint8)
        pixels[:2] = (200, 100, 0, 255)
        pixels[2] = (200, 100, 0, 0)
        pixels[3] = (0, 0, 0, 128)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        rgb = read_rgb(tmp_path / "a.png")
        assert rgb[0, 0].tolist() == [200, 100, 0]
        assert rgb[2, 0].tolist() == [255, 255, 255]
        assert abs(int(rgb[3, 0, 0]) - 127) <= 1
        Image.fromarray(pixels).convert("LA").save(tmp_path / "b.png")
        assert read_gray(tmp_path / "b.png")[2, 0] == 255

    def test_palette(self, tmp_path: Path) -> None:
        image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), mode=None).convert("P")
        image.putpalette([10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200])
        image.save(tmp_path / "a.png")
        assert read_rgb(tmp_path / "a.png").tolist() == [[[10, 20, 30], [200, 0, 0]], [[0, 200, 0], [0, 0, 200]]]
        image.save(tmp_path / "b.png", transparency=3)
        assert read_rgb(tmp_path / "b.png")[1].tolist() == [[0, 200, 0], [255, 255, 255]]

    def test_bilevel(self, tmp_path: Path) -> None:
        Image.fromarray(RAMP > 100).save(tmp_path / "a.tif")
        assert np.array_equal(read_gray(tmp_path / "a.tif"), np.where(RAMP > 100, 255, 0))

    def test_animation_gives_its_first_frame(self, tmp_path: Path) -> None:
        frames = [Image.fromarray(np.full((8, 9), level, np.uint8)) for level in (10, 200)]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        assert np.array_equal(read_gray(tmp_path / "a.gif"), np.full((8, 9), 10))


class TestWide:
    """More than 8 bits a channel."""

    def test_a_small_range_of_16_bits_is_stretched(self, tmp_path: Path) -> None:
        thermal = (7000 + 2 * RAMP.astype(np.uint16)).astype(np.uint16)
        Image.fromarray(thermal).save(tmp_path / "a.png")
        gray = read_gray(tmp_path / "a.png")
        assert gray.dtype == np.uint8
        assert np.abs(gray - RAMP / 236 * 255).max() <= 1
        assert read_rgb(tmp_path / "a.png").shape == (40, 60, 3)

    def test_little_beside_a_constant(self, tmp_path: Path) -> None:
        pixels = np.full((100, 100), 5000, np.uint16)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert not read_gray(tmp_path / "a.png").any()
        pixels[50, 50] = 6000
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert read_gray(tmp_path / "a.png")[50, 50] == 255

    def test_float_tiff(self, tmp_path: Path) -> None:
        values = RAMP.astype(np.float32) / 255
        values[0, 0], values[0, 1] = np.nan, np.inf
        Image.fromarray(values).save(tmp_path / "a.tif")
        assert np.array_equal(read_gray(tmp_path / "a.tif", stretch=False)[1:], RAMP[1:])
        stretched = read_gray(tmp_path / "a.tif")
        assert stretched[0, :2].tolist() == [0, 0]
        assert stretched.max() == 255

    def test_nothing_finite(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "a.tif")
        assert not read_gray(tmp_path / "a.tif").any()

    @pytest.mark.parametrize("dtype", [np.uint16, np.float32])
    def test_colours_that_only_opencv_reads(self, tmp_path: Path, dtype: type) -> None:
        unit = 257 if dtype is np.uint16 else np.float32(1 / 255)
        cv2.imwrite(str(tmp_path / "a.tif"), (colours()[:, :, ::-1].astype(dtype) * unit).astype(dtype))
        assert np.abs(read_rgb(tmp_path / "a.tif", stretch=False).astype(int) - colours()).max() <= 1

    @pytest.mark.parametrize("name", ["a.png", "a.tif"])
    def test_16_bit_colours_are_stretched_too(self, tmp_path: Path, name: str) -> None:
        cv2.imwrite(str(tmp_path / name), 7000 + 2 * colours()[:, :, ::-1].astype(np.uint16))
        rgb = read_rgb(tmp_path / name)
        assert np.abs(rgb - colours() / 236 * 255).max() <= 2  # one range for all three channels

    def test_16_bit_transparency(self, tmp_path: Path) -> None:
        pixels = np.zeros((2, 1, 4), np.uint16)
        pixels[:, :, 3] = [[65535], [0]]
        cv2.imwrite(str(tmp_path / "a.png"), pixels)
        assert read_gray(tmp_path / "a.png").tolist() == [[0], [255]]

    def test_float64_tiff(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "a.tif"), RAMP.astype(np.float64) / 255)
        assert np.array_equal(read_gray(tmp_path / "a.tif", stretch=False), RAMP)


def float_rule(pixels: np.ndarray) -> np.ndarray:
    """The rule of `read_gray` as one would write it for a small image."""
    finite = np.isfinite(pixels)
    values = np.where(finite, pixels, pixels[finite].min()).astype(np.float64)
    low, high = np.percentile(pixels[finite].astype(np.float64), [0.1, 99.9])
    return np.rint(((values - low) * (255.0 / (high - low))).clip(0, 255)).astype(np.uint8)


class TestBlocks:
    """Wide images are converted block by block, and of large ones the percentiles are estimated."""

    @pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
    @pytest.mark.parametrize("block", [1, 130, 1 << 20])
    def test_block_size_changes_nothing(self, dtype: type, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(levels, "BLOCK", block)
        pixels = np.random.default_rng(0).gamma(2, 900, (41, 53)).astype(dtype)
        if dtype is np.float32:
            pixels[3, 4], pixels[40, 52] = np.nan, -np.inf
        assert np.array_equal(levels.to_8_bits(pixels, stretch=True), float_rule(pixels))

    @pytest.mark.parametrize("dtype", [np.int32, np.float32])
    def test_percentiles_of_a_large_image(self, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(levels, "SAMPLED", 2500)
        pixels = np.random.default_rng(0).uniform(0, 1e6, (200, 200)).astype(dtype)
        assert np.abs(levels.to_8_bits(pixels, stretch=True).astype(int) - float_rule(pixels)).max() <= 2
        lonely = np.full((200, 200), 5000, dtype)
        lonely[3, 3] = 6000  # between the pixels that are looked at
        assert levels.to_8_bits(lonely, stretch=True)[3, 3] == 255

    @pytest.mark.slow
    def test_108_megapixels_of_16_bits(self, tmp_path: Path) -> None:
        """216 MB of pixels, which Pillow copies once or twice; as floats they would take 4 GB."""
        pixels = (7000 + np.arange(12000, dtype=np.uint16) // 30)[None].repeat(9000, axis=0)
        Image.fromarray(pixels).save(tmp_path / "a.png", compress_level=1)
        code = (
            "import resource, sys\n"
            "from superpoint.data.images import read_gray\n"
            "most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "before = most()\n"
            "gray = read_gray(sys.argv[1])\n"
            "print(*gray.shape, *gray[4500, ::11999], (most() - before) // 1024)"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout.split()
        assert [int(each) for each in found[:4]] == [9000, 12000, 0, 255]
        assert int(found[4]) < 1200  # MB


def png_of_size(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims to be this large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


class TestErrors:
    @pytest.mark.parametrize(
        ("content", "match"),
        [(None, "no such file"), (b"", "found an empty file"), (b"a text", "not an image")],
    )
    def test_no_image(self, tmp_path: Path, content: bytes | None, match: str) -> None:
        if content is not None:
            (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(UserError, match=rf"a\.png: .*{match}"):
            read_gray(tmp_path / "a.png")
        with pytest.raises(UserError, match="found a folder"):
            read_gray(tmp_path)

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.tif", "a.bmp", "a.webp"])
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
    def test_truncated(self, tmp_path: Path, name: str, share: float) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=name.replace(".", r"\.")) as caught:
            read_gray(tmp_path / name)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("side", [23_200, 60_000])
    def test_absurd_size(self, tmp_path: Path, side: int) -> None:
        (tmp_path / "a.png").write_bytes(png_of_size(side, side))
        with pytest.raises(UserError, match=r"too large .* expected at most 536 megapixels"):
            read_gray(tmp_path / "a.png")


def encoded(kind: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(colours()).save(buffer, kind)
    return buffer.getvalue()


ENCODED = {kind: encoded(kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP")}


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(ENCODED)),
    damage=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_files_give_an_image_or_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, damage: list[tuple[float, int]]
) -> None:
    content = bytearray(ENCODED[kind])
    for place, value in damage:
        content[int(place * min(len(content), 400))] = value  # headers are where decoders stumble
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    try:
        image = read_rgb(path)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017 (either outcome is right)
    else:
        assert image.dtype == np.uint8
        assert image.shape[2] == 3


class TestResize:
    @pytest.mark.parametrize(
        "size", [(48, 64), (120, 160), (33, 100), (240, 320), (480, 640), (60, 700), (500, 81), (241, 319)]
    )
    def test_points_stay_on_the_image(self, size: tuple[int, int]) -> None:
        point = np.array([[101.3, 77.8]])
        resized, points = resize_with_points(gray_spots(point, 240, 320, 12.0), point, size)
        assert resized.shape == size
        assert points.dtype == np.float32
        assert np.abs(points[0] - centroid(resized)).max() < 0.06

    def test_half(self) -> None:
        image = np.array([[0, 100, 20, 40]], np.uint8).repeat(2, axis=0)
        resized, points = resize_with_points(image, np.array([[0.5, 0.5], [2.5, 0.5]]), (1, 2))
        assert resized.tolist() == [[50, 30]]
        assert points.tolist() == [[0.0, 0.0], [1.0, 0.0]]

    def test_same_size_and_colours(self) -> None:
        resized, points = resize_with_points(colours(), np.zeros((0, 2)), (40, 60))
        assert np.array_equal(resized, colours())
        assert points.shape == (0, 2)
        assert resize_with_points(colours(), np.zeros((0, 2)), (7, 9))[0].shape == (7, 9, 3)

    def test_one_axis_shrinks_by_area_while_the_other_grows(self) -> None:
        stripes = np.tile(np.array([0, 200], np.uint8), (4, 50))  # [4, 100], averages to 100
        resized, _ = resize_with_points(stripes, np.zeros((0, 2)), (9, 25))
        assert np.abs(resized.astype(int) - 100).max() <= 1


class TestSamples:
    def test_photographs(self) -> None:
        samples = dict(sample_photographs())
        assert {"camera", "astronaut", "coffee", "chelsea", "coins", "brick", "rocket"} <= samples.keys()
        assert all(
            image.dtype == np.uint8 and image.ndim == 3 and min(image.shape[:2]) >= 160 for image in samples.values()
        )
        assert samples["astronaut"].shape == (512, 512, 3)

    def test_without_scikit_image(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(UserError, match=r"pip install 'superpoint\[samples\]'"):
            sample_photographs()


def test_the_limit_of_pixels_is_ours_not_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (40, 30), 7).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert read_gray(tmp_path / "a.png").shape == (30, 40)
    monkeypatch.setattr("superpoint.data.images.MAX_PIXELS", 1000)
    with pytest.raises(UserError, match="40 x 30 pixels"):
        read_gray(tmp_path / "a.png")
    assert Image.MAX_IMAGE_PIXELS == 500
