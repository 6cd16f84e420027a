from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from superpoint.data.masks import MARGIN, Masks, as_mask, fit_mask, inner, read_mask, resize_mask, warp_inner
from superpoint.errors import UserError
from superpoint.geometry.homography import resize_matrix
from superpoint.visualize import save_image
from tests.drawing import clearance

KEPT = np.zeros((12, 20), bool)
KEPT[3:9, 4:15] = True


def test_masks_of_all_types_are_read_alike(tmp_path: Path) -> None:
    gray = KEPT.astype(np.uint8)
    palette = Image.fromarray(gray).convert("P")
    palette.putpalette([0, 0, 0, 0, 0, 200])
    blue = np.dstack([0 * gray, 0 * gray, gray])
    files = {
        "bits.png": KEPT,
        "ones.png": gray,
        "white.bmp": 255 * gray,
        "wide.png": gray.astype(np.uint16),  # numbers of objects
        "float.tif": np.where(KEPT, 0.01, np.nan).astype(np.float32),
        "blue.png": blue,
        "opaque.png": np.dstack([blue, np.full_like(gray, 255)]),
        "hidden.png": np.dstack([blue, 0 * gray]),
        "transparent.png": np.dstack([blue + 9, 255 * gray]),
        "lossy.jpg": 255 * gray,
        "lossy.webp": 255 * gray,
        "palette.png": palette,
    }
    for name, content in files.items():
        (content if isinstance(content, Image.Image) else Image.fromarray(content)).save(tmp_path / name)
        assert np.array_equal(read_mask(tmp_path / name), KEPT), name


def test_files_that_are_no_masks(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    (tmp_path / "text.png").write_text("no mask")
    (tmp_path / "empty.png").touch()
    for name in ("half", "text", "empty", "missing"):
        with pytest.raises(UserError, match=rf"{name}\.png: cannot be read as a mask \("):
            read_mask(tmp_path / f"{name}.png")


def test_a_mask_of_another_size_is_resized() -> None:
    smaller = np.zeros((3, 5), bool)
    smaller[1, 3] = True
    assert np.array_equal(fit_mask(smaller, (30, 50)), np.kron(smaller, np.ones((10, 10), bool)))
    larger = np.kron(smaller, np.ones((10, 10), bool))
    assert np.array_equal(resize_mask(larger, (3, 5)), smaller)
    larger[19, 39] = False  # a single pixel of what becomes one
    assert not resize_mask(larger, (3, 5)).any()
    assert fit_mask(np.ones((1, 1), bool), (7, 9)).all()
    assert fit_mask(np.ones((33, 50), bool), (401, 600)).shape == (401, 600)  # 600 x 401 at 1/12, rounded
    with pytest.raises(UserError, match=r"found a mask of 480 x 640 pixels, expected the aspect ratio .*, 640 x 480"):
        fit_mask(np.ones((640, 480), bool), (480, 640))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(12, 20), (16, 16)])
def test_a_mask_turns_with_its_photograph(orientation: int, shape: tuple[int, int]) -> None:
    stored = np.random.default_rng(0).random(shape) < 0.5
    image = Image.fromarray(stored.astype(np.uint8))
    image.getexif()[0x0112] = orientation
    upright = np.array(ImageOps.exif_transpose(image)) > 0
    size = (upright.shape[0], upright.shape[1])
    assert np.array_equal(fit_mask(stored, size, orientation), upright)
    if orientation > 4 and shape[0] != shape[1]:  # its size says that it is upright already
        assert np.array_equal(fit_mask(upright, size, orientation), upright)


def test_arrays_as_masks() -> None:
    for values in (KEPT, 7 * KEPT.astype(np.uint8), KEPT[None], KEPT[:, :, None]):
        assert np.array_equal(as_mask(values), KEPT)
    for values in (np.zeros((4, 5, 3)), np.zeros((0, 4)), "mask"):
        with pytest.raises(ValueError, match=r"mask: found .* expected bool or uint8 \[H, W\]"):
            as_mask(values)


def test_nothing_is_left_near_what_is_ignored() -> None:
    mask = np.ones((40, 50), bool)
    mask[20, 30] = False  # one pixel
    assert inner(mask).sum() == 40 * 50 - 11 * 11
    y, x = np.nonzero(inner(mask))
    assert clearance(np.stack([x, y], axis=1), mask).min() >= MARGIN + 1  # less 1 px of refinement
    assert not inner(np.zeros((9, 9), bool)).any()
    assert inner(np.ones((9, 9), bool)).all()
    for scale in (0.5, 1, 2):  # pixels of the view, whatever its zoom
        view = warp_inner(mask, resize_matrix(scale, scale), (round(40 * scale), round(50 * scale)))
        ignored = np.argwhere(~view)
        sides = ignored.max(axis=0) - ignored.min(axis=0) + 1
        assert ((sides >= scale + 2 * (MARGIN + 1) - 1) & (sides <= scale + 2 * (MARGIN + 1) + 2)).all()
        np.testing.assert_allclose(ignored.mean(axis=0), scale * np.array([20.5, 30.5]) - 0.5, atol=0.6)


def test_masks_are_found_by_name(tmp_path: Path) -> None:
    for name in ("a/one.jpg.png", "a/b/two.png", "three.tif", "a/four.png", "a/four.jpg.png"):
        save_image((tmp_path / name).with_suffix(".png"), KEPT)
        (tmp_path / name).with_suffix(".png").rename(tmp_path / name)
    masks = Masks(tmp_path)
    found = {"a/one.jpg": "a/one.jpg.png", "a/b/two.jpeg": "a/b/two.png", "three.tif": "three.tif"}
    found |= {"a/four.jpg": "a/four.jpg.png", "one.jpg": None, "b/two.jpeg": None}
    assert {name: masks.find(name) for name in found} == found
    assert masks.check(list(found)) == "2 of 6 images have no mask and are used whole"
    with pytest.raises(UserError, match=r"found no mask of the 2 images, expected for instance x\.jpg\.png or x\.png"):
        masks.check(["x.jpg", "y.jpg"])
    assert masks.read("one.jpg", (12, 20)) is None
    with pytest.raises(UserError, match=r"^mask a/one\.jpg\.png: found a mask of 20 x 12 pixels"):
        masks.read("a/one.jpg", (90, 90))
    (tmp_path / "three.tif").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"^mask three\.tif: cannot be read"):
        masks.read("three.tif", (12, 20))
    assert masks.digest() != Masks(tmp_path / "a").digest()
    with pytest.raises(UserError, match="expected a folder of masks"):
        Masks(tmp_path / "three.tif")
