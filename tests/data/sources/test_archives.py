import io
import pickle
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from superpoint.data.sources.archives import Hdf5Images, TarImages
from superpoint.data.sources.source import EXTENSIONS
from superpoint.data.sources.streams import read_ahead
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


@pytest.mark.parametrize("kind", ["plain", "gz", "pipe", "piped gz"])
def test_tars_are_read_as_streams(tmp_path: Path, kind: str) -> None:
    path = make_tar(tmp_path / "a.tar", MEMBERS, "w:gz" if "gz" in kind else "w")
    url = f"pipe:cat '{path}'" if "pipe" in kind else str(path)
    found = read(TarImages([url], EXTENSIONS))
    assert found[:2] == [("s/0001.png", 10), ("s/0002.PNG", 20)]
    assert found[2][0] == "s/0003.jpg"
    assert str(found[2][1]).startswith("s/0003.jpg: found a file that is not an image")
    assert found[3] == ("abs/0004.png", 40)
    assert read(TarImages([url], EXTENSIONS), skip=3) == [("abs/0004.png", 40)]


def test_names_can_begin_with_the_tar(tmp_path: Path) -> None:
    make_tar(tmp_path / "shard-001.tar.gz", {"1.png": png(1)}, "w:gz")
    urls = [str(tmp_path / "shard-001.tar.gz"), f"pipe:cat {tmp_path}/shard-001.tar.gz"]
    source = TarImages(urls, EXTENSIONS, prefix=True)
    assert [read(source, part)[0][0] for part in (0, 1)] == ["shard-001/1.png", "000001/1.png"]


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
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_a_tar_that_ends_quietly_breaks_off(tmp_path: Path, damage, reason: str, read: int, kind: str) -> None:
    path = make_tar(tmp_path / "a.tar", {f"{index}.bmp": bytes(1000) for index in range(6)})  # of 3 blocks each
    path.write_bytes(damage(path.read_bytes()))
    found = []
    url = str(path) if kind == "file" else f"pipe:cat {path}"
    with pytest.raises(UserError, match=rf"a\.tar: breaks off after {read} images .*{reason}"):
        found.extend(TarImages([url], EXTENSIONS).read(0, 64))
    assert len(found) == read


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false", "false: the command ended with exit code 1"),
        ("head -c 2000 {tar}; exit 4", "the command ended with exit code 4"),
        ("cat {tar}; exit 3", "the command ended with exit code 3"),
        ("head -c 2000 {tar}", "breaks off after 1 images"),
    ],
)
def test_a_command_that_fails_is_told(tmp_path: Path, command: str, message: str) -> None:
    path = make_tar(tmp_path / "a.tar", MEMBERS)
    with pytest.raises(UserError, match=message):
        list(TarImages([f"pipe:{command.format(tar=path)}"], EXTENSIONS).read(0, 64))


def test_leaving_a_pipe_early_ends_its_command(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {"1.png": png(1), "2.bin": bytes(100_000)})
    command = f"sleep 600 & echo $! > {tmp_path}/pid; cat {path}; wait"
    stream = TarImages([f"pipe:{command}"], EXTENSIONS).read(0, 64)
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # would wait for the command otherwise
    assert has_ended(int((tmp_path / "pid").read_text()))


def has_ended(process: int) -> bool:
    """Within 10 s; a process that nobody waits for stays behind as a zombie, which has ended too."""
    for _ in range(1000):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_a_stalled_pipe_can_be_given_up(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {"1.png": png(1), "2.bin": bytes(100_000)})
    source = TarImages([f"pipe:head -c 20000 {path}; sleep 600; echo"], EXTENSIONS)
    stopped, interrupted = threading.Event(), threading.Event()
    stream = read_ahead(
        source.read(0, 64, 0, stopped.is_set),
        lambda item: item.name,
        stopped=stopped,
        interrupted=interrupted.is_set,
    )
    assert next(stream) == "1.png"
    interrupted.set()
    assert list(stream) == []


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
