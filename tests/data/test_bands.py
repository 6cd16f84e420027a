"""Images of several channels: bands come as they are stored, each with its own range."""

import io
import tarfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from superpoint.data.bands import read_image
from superpoint.data.images import read_gray
from superpoint.data.sources.source import open_source
from superpoint.errors import UserError

tifffile = pytest.importorskip("tifffile")
ORIENTATION = 274


def levels(bands: int) -> NDArray[np.uint8]:
    """Bytes [20, 30, bands], each band with all of its values below 200."""
    return np.random.default_rng(bands).integers(0, 200, (20, 30, bands), dtype=np.uint8)


@pytest.mark.parametrize("layout", ["contig", "separate", "pages", "deflated", "float", "npy", "npy first"])
@pytest.mark.parametrize("bands", [2, 4, 5])
def test_every_band_is_stretched_between_its_own_percentiles(tmp_path: Path, layout: str, bands: int) -> None:
    ramp = np.arange(600, dtype=np.uint16).reshape(20, 30)
    stored = np.dstack([ramp * (k + 1) + 1000 * k for k in range(bands)])
    planes, path = np.ascontiguousarray(stored.transpose(2, 0, 1)), tmp_path / "image.tif"
    if layout == "pages":
        with tifffile.TiffWriter(path) as writer:
            for plane in planes:
                writer.write(plane)
            writer.write(planes[0, ::2, ::2])  # a reduced copy
    elif layout == "separate":
        tifffile.imwrite(path, planes, photometric="minisblack", planarconfig="separate")
    elif layout.startswith("npy"):
        path = tmp_path / "image.npy"
        np.save(path, planes if layout == "npy first" else stored)
    else:
        values = stored.astype(np.float32) if layout == "float" else stored
        compression = "zlib" if layout == "deflated" else None
        tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig", compression=compression)
    image = read_image(path, bands)
    low, high = np.percentile(ramp, (0.1, 99.9))
    expected = np.rint(((ramp - low) * 255 / (high - low)).clip(0, 255))
    assert image.dtype == np.uint8
    for band in range(bands):
        np.testing.assert_array_equal(image[:, :, band], expected)
    np.testing.assert_array_equal(read_image(path, 2), image[:, :, :2])  # the first ones


def test_the_fourth_band_is_no_alpha(tmp_path: Path) -> None:
    stored = levels(4)
    stored[5:9, :, 3] = 0
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", stored, photometric="rgb", extrasamples=["unassalpha"])
    Image.fromarray(stored).save(tmp_path / "c.png")
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(read_image(path, 4), stored)
    wide = stored.astype(np.uint16) * 3
    cv2.imwrite(str(tmp_path / "wide.png"), wide[:, :, [2, 1, 0, 3]])
    image = read_image(tmp_path / "wide.png", 4)
    assert [np.corrcoef(image[:, :, k].ravel(), stored[:, :, k].ravel())[0, 1] > 0.99 for k in range(4)] == [True] * 4


def test_orientation_and_missing_values_of_bands(tmp_path: Path) -> None:
    stored = levels(2).astype(np.float32)
    stored[3, 4] = -9999
    tags = [(ORIENTATION, "H", 1, 6, True), (42113, "s", 0, "-9999", True)]
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig="contig", extratags=tags)
    raw, upright = (read_image(tmp_path / "a.tif", 2, upright=upright) for upright in (False, True))
    assert raw[3, 4].tolist() == [0, 0]
    assert np.ptp(raw[:, :, 1]) == 255  # the range is that of the others
    np.testing.assert_array_equal(upright, np.rot90(raw, -1))


def test_grey_and_rgb(tmp_path: Path) -> None:
    rgb = levels(3)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    Image.fromarray(rgb[:, :, 0]).save(tmp_path / "grey.png")
    np.save(tmp_path / "a.npy", rgb)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 3), rgb)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy", 3), rgb)
    for name, layout in (
        ("a.tif", {"photometric": "rgb"}),
        ("b.tif", {"photometric": "minisblack", "planarconfig": "contig"}),
    ):
        tifffile.imwrite(tmp_path / name, rgb, **layout)
        np.testing.assert_array_equal(read_image(tmp_path / name, 3), rgb)
    infrared = np.dstack([rgb, levels(2)[:, :, 0]])
    tifffile.imwrite(tmp_path / "c.tif", infrared, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(read_image(tmp_path / "c.tif", 3), rgb)  # the fourth is no alpha
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", 3), np.repeat(rgb[:, :, :1], 3, axis=2))
    assert read_image(tmp_path / "a.png").shape == (20, 30)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("grey.png", "found 1 channel, expected 2"),
        ("grey.tif", "found 1 channel, expected 2"),
        ("grey.npy", "found 1 channel, expected 2"),
        ("complex.npy", r"found an array of complex64 \[20, 30, 2\]"),
        ("line.npy", r"found an array of float64 \[5\]"),
        ("objects.npy", "cannot be read as an image"),
        ("cut.tif", "cannot be read as an image"),
        ("empty.npy", "found an empty file"),
        ("none.tif", "no such file"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, found: str) -> None:
    grey = levels(2)[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    tifffile.imwrite(tmp_path / "grey.tif", grey)
    np.save(tmp_path / "grey.npy", grey)
    np.save(tmp_path / "complex.npy", np.zeros((20, 30, 2), np.complex64))
    np.save(tmp_path / "line.npy", np.zeros(5))
    np.save(tmp_path / "objects.npy", np.array([None, {}]), allow_pickle=True)
    tifffile.imwrite(tmp_path / "cut.tif", levels(2), photometric="minisblack", planarconfig="contig")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:500])
    (tmp_path / "empty.npy").touch()
    with pytest.raises(UserError, match=rf"{name}: {found}") as error:
        read_image(tmp_path / name, 2)
    assert "\n" not in str(error.value)


def test_sources_of_bands(tmp_path: Path) -> None:
    stored, folder = levels(2), tmp_path / "folder"
    folder.mkdir()
    np.save(folder / "a.npy", stored)
    Image.fromarray(stored, "LA").save(folder / "b.png")
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    content = io.BytesIO()
    Image.fromarray(stored, "LA").save(content, "png")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["last"], file["first"] = stored, stored.transpose(2, 0, 1)
        file["stack"], file["file"] = np.stack([stored, stored]), np.frombuffer(content.getvalue(), np.uint8)
    for name, count in (("folder", 2), ("c.tar", 2), ("d.h5", 5)):
        source = open_source([str(tmp_path / name)], channels=2)
        items = list(source.read(0, 10))
        assert len(items) == count
        for item in items:
            np.testing.assert_array_equal(item.load(), stored)
        source.close()
    assert open_source([str(folder)]).names == ["b.png"]  # type: ignore[attr-defined]  # arrays may be labels


@pytest.mark.parametrize("count", [2, 5])
def test_bands_of_a_grey_network_are_told_from_damage(count: int, tmp_path: Path) -> None:
    planes = np.zeros((count, 20, 30), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack", planarconfig="separate")
    with pytest.raises(UserError, match=r"several bands .* model\.channels"):
        read_gray(tmp_path / "a.tif")
