import io
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from superpoint.data.sources.archives import Hdf5Images, TarImages
from superpoint.data.sources.source import EXTENSIONS
from superpoint.errors import UserError
from tests.data.recipes.test_unpack import make_tar as make_archive


def png(level: int, size: tuple[int, int] = (10, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, level).save(buffer, "png")
    return buffer.getvalue()


def make_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    return make_archive(path, list(members.items()), mode)


MEMBERS = {
    "./s/0001.png": png(10),
    "./s/0001.json": b"{}",
    "./s/0002.PNG": png(20),
    "./s/._0002.png": b"of macOS",
    "./s/0003.jpg": b"no image",
    "/abs/0004.png": png(40),
}


def read(source: TarImages, part: int = 0, skip: int = 0) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for item in source.read(part, 64, skip):
        try:
            found.append((item.name, int(item.load()[0, 0])))
        except UserError as error:
            found.append((item.name, str(error)))
    return found


@pytest.mark.parametrize("kind", ["plain", "gz"])
def test_tars_are_read_as_streams(tmp_path: Path, kind: str) -> None:
    url = str(make_tar(tmp_path / "a.tar", MEMBERS, "w:gz" if kind == "gz" else "w"))
    found = read(TarImages([url], EXTENSIONS))
    assert found[:2] == [("s/0001.png", 10), ("s/0002.PNG", 20)]
    assert found[2][0] == "s/0003.jpg"
    assert str(found[2][1]).startswith("s/0003.jpg: found a file that is not an image")
    assert found[3] == ("abs/0004.png", 40)
    assert read(TarImages([url], EXTENSIONS), skip=3) == [("abs/0004.png", 40)]


def test_names_can_begin_with_the_tar(tmp_path: Path) -> None:
    make_tar(tmp_path / "shard-001.tar.gz", {"1.png": png(1)}, "w:gz")
    source = TarImages([str(tmp_path / "shard-001.tar.gz")], EXTENSIONS, prefix=True)
    assert read(source)[0][0] == "shard-001/1.png"


def test_a_tar_that_breaks_off_says_where(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {f"{index}.png": png(index, (200, 200)) for index in range(20)})
    path.write_bytes(path.read_bytes()[:9000])
    found = []
    with pytest.raises(UserError, match=r"a\.tar: breaks off after \d+ images"):
        found.extend(TarImages([str(path)], EXTENSIONS).read(0, 64))
    assert 3 < len(found) < 20


@pytest.mark.parametrize(
    ("damage", "reason", "read"),
    [
        (lambda tar: tar[:6144], "the next header is cut off", 4),  # between two members
        (lambda tar: tar[: 6144 + 200], "the next header is cut off", 4),
        (lambda tar: tar[:6144] + b"x" + tar[6145:], "the next header is damaged", 4),
        (lambda tar: tar[:6144] + bytes(1024) + tar[7168:], "data follows the mark of its end", 4),
        (lambda tar: tar[: 6 * 1536 + 512], "cut off within the mark of its end", 6),
    ],
)
def test_a_tar_that_ends_quietly_breaks_off(tmp_path: Path, damage, reason: str, read: int) -> None:
    path = make_tar(tmp_path / "a.tar", {f"{index}.bmp": bytes(1000) for index in range(6)})  # of 3 blocks each
    path.write_bytes(damage(path.read_bytes()))
    found = []
    with pytest.raises(UserError, match=rf"a\.tar: breaks off after {read} images .*{reason}"):
        found.extend(TarImages([str(path)], EXTENSIONS).read(0, 64))
    assert len(found) == read


def test_images_in_hdf5(tmp_path: Path) -> None:
    ramp = np.arange(80, dtype=np.uint8).reshape(8, 10)
    colours = np.stack([ramp, ramp + 50, ramp + 100], axis=2)
    luma = 0.299 * colours[:, :, 0] + 0.587 * colours[:, :, 1] + 0.114 * colours[:, :, 2]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["gray10"] = ramp
        file["gray2"] = ramp
        file["rgb"] = colours
        file["planes"] = colours.transpose(2, 0, 1)
        file["wide"] = 7000 + 2 * ramp.astype(np.uint16)
        file["float64"] = ramp / 255.0
        file["encoded"] = np.frombuffer(png(77), np.uint8)
        file["stack"] = np.stack([ramp] * 5)
        file["colourstack"] = np.stack([colours] * 2)
        file["text"] = "no image"
        file["label"] = 3
    source = Hdf5Images(tmp_path / "a.h5")
    stacks = ["colourstack/0", "colourstack/1", *(f"stack/{index}" for index in range(5))]
    single = ["encoded", "float64", "gray2", "gray10", "planes", "rgb", "wide"]
    assert set(source.names) == {*stacks, *single}
    assert source.names.index("gray2") < source.names.index("gray10")
    images = {item.name: item.load() for part in range(source.parts(4)) for item in source.read(part, 4)}
    assert all(image.dtype == np.uint8 for image in images.values())
    np.testing.assert_array_equal(images["gray2"], ramp)
    np.testing.assert_array_equal(images["stack/3"], ramp)
    for name in ("rgb", "planes", "colourstack/1"):
        assert np.abs(images[name] - luma).max() <= 1, name
    assert images["encoded"].tolist() == [[77] * 10] * 8
    for name in ("wide", "float64"):  # stretched, as 16-bit files are
        assert np.abs(images[name] - ramp / 79 * 255).max() <= 2, name
    assert len(pickle.loads(pickle.dumps(source)).load("rgb")) == 8


def test_hdf5_without_images(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["text"] = "no image"
    with pytest.raises(UserError, match="found no dataset that is an image"):
        Hdf5Images(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["a.jpg/keypoints"] = np.zeros((3, 2), np.float32)
    with pytest.raises(UserError, match="found features, expected images"):
        Hdf5Images(tmp_path / "b.h5")
    with pytest.raises(UserError, match="found no 'gone'"):
        Hdf5Images(tmp_path / "a.h5", ["gone"]).load("gone")
