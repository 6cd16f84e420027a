"""What must not decide about the grey levels of an image: an alpha without meaning, hot and dead pixels."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from superpoint.data.images import read_gray, read_rgb
from superpoint.data.levels import to_8_bits
from superpoint.errors import UserError
from tests.conftest import photograph


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("alpha", [0, 1, 128, 255])
def test_an_alpha_that_is_the_same_everywhere_is_ignored(tmp_path: Path, alpha: int) -> None:
    gray = photograph()
    rgb, hidden = np.dstack([gray] * 3), np.full_like(gray, alpha)
    rgba, two = Image.fromarray(np.dstack([rgb, hidden])), Image.fromarray(np.dstack([gray, hidden]), "LA")
    for name in ("a.png", "a.tif"):
        assert np.array_equal(read_gray(saved(rgba, tmp_path / name)), gray)
        assert np.array_equal(read_gray(saved(two, tmp_path / name)), gray)
    lossless = saved(rgba, tmp_path / "a.webp", lossless=True, exact=True)
    assert np.array_equal(read_gray(lossless), gray)
    palette = Image.fromarray(gray, "P")
    palette.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
    assert np.array_equal(read_gray(saved(palette, tmp_path / "p.png", transparency=bytes([alpha] * 256))), gray)
    wide = np.dstack([rgb.astype(np.uint16) * 257, hidden.astype(np.uint16)])
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    assert np.array_equal(read_rgb(tmp_path / "wide.png", stretch=False), rgb)


SCENE = photograph("camera").astype(np.uint16) * 16 + 300  # 300..4380


@pytest.mark.parametrize("share", [0.0005, 0.005, 0.01])
@pytest.mark.parametrize("kind", ["hot", "dead", "both", "of all values", "one patch", "floats", "colours"])
def test_a_few_saturated_or_dead_pixels_leave_the_others_their_grey_levels(kind: str, share: float) -> None:
    rng = np.random.default_rng(0)
    scene = SCENE + 30_000 if kind in ("dead", "both") else SCENE
    scene = np.dstack([scene, scene[::-1], scene[:, ::-1]]) if kind == "colours" else scene
    scene = scene.astype(np.float32) if kind == "floats" else scene
    wrong = rng.random(scene.shape) < share
    if kind == "one patch":
        wrong = np.zeros(scene.shape, bool)
        wrong[20 : 20 + int(share * 1000), 30:45] = True
    spoilt = scene.copy()
    spoilt[wrong] = {"floats": 1e6}.get(kind, 65535)
    if kind in ("dead", "both"):
        spoilt[wrong if kind == "dead" else rng.random(scene.shape) < share] = 0
    if kind == "of all values":
        spoilt[wrong] = rng.integers(20_000, 65535, int(wrong.sum()))
    found, expected = to_8_bits(spoilt, stretch=True), to_8_bits(scene, stretch=True)
    right = spoilt == scene
    assert len(np.unique(found[right])) > 200
    assert (
        np.abs(found.astype(int) - expected)[right].max() <= 16
    )  # below a share of 0.001 the percentiles move a little


def test_a_small_bright_subject_keeps_its_structure() -> None:
    """It differs from hot pixels by its neighbours and its many values: the range stays that of the percentiles."""
    rng = np.random.default_rng(0)
    scene = rng.normal(8000, 50, (120, 160))
    scene[50:60, 70:90] = rng.normal(30_000, 5000, (10, 20))
    pixels = scene.astype(np.uint16)
    low, high = np.percentile(pixels, [0.1, 99.9])
    assert np.array_equal(
        to_8_bits(pixels, stretch=True), np.rint(((pixels - low) * (255 / (high - low))).clip(0, 255))
    )


def heic() -> bytes:
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(range(200))


def test_heic_needs_its_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for pillow-heif, which shows that it is asked; the real one decodes the picture."""
    (tmp_path / "a.jpg").write_bytes(heic())  # phones give them this extension, too
    if "pillow_heif" not in sys.modules:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"a\.jpg: found HEIC .* pip install 'superpoint\[heif\]'"):
        read_gray(tmp_path / "a.jpg")

    class Decoder(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._mode, self._size = "L", (4, 3)
            self.tile = [ImageFile._Tile("raw", (0, 0, 4, 3), 30, ("L", 0, 1))]

    def register_heif_opener() -> None:
        Image.register_open("HEIF", Decoder, lambda head: head[4:8] == b"ftyp")

    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register_heif_opener))  # type: ignore[arg-type]
    try:
        assert read_gray(tmp_path / "a.jpg").shape == (3, 4)
        assert read_gray("b.heic", content=heic()).shape == (3, 4)
    finally:
        Image.OPEN.pop("HEIF", None)
        Image.ID.remove("HEIF")


def test_avif_is_read_where_pillow_can() -> None:
    pytest.importorskip("PIL.AvifImagePlugin")
    content = io.BytesIO()
    Image.fromarray(photograph()).save(content, "AVIF", quality=100)
    assert np.abs(read_gray("a.avif", content=content.getvalue()).astype(int) - photograph()).mean() < 2
