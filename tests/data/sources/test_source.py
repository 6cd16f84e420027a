import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from superpoint.data.sources.archives import Hdf5Images, TarImages
from superpoint.data.sources.source import EXTENSIONS, Files, expand_braces, open_source
from superpoint.errors import UserError


def save(path: Path, level: int = 9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 10), level, np.uint8)).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index, name in enumerate(("b10.png", "b2.png", "deep/er/A.JPG", "deep/c.tif")):
        save(tmp_path / "photos" / name, level=index * 10)
    (tmp_path / "photos/notes.txt").write_text("no image")
    save(tmp_path / "photos/.thumbnails/x.png")
    save(tmp_path / "photos/._b2.png")
    return tmp_path / "photos"


def names(*inputs: object, **options: object) -> list[str]:
    source = open_source([str(each) for each in inputs], **options)  # type: ignore[arg-type]
    assert isinstance(source, Files)
    assert len(source) == len(source.names)
    return source.names


def test_a_folder_is_searched_in_natural_order(photos: Path) -> None:
    source = open_source([str(photos)])
    assert isinstance(source, Files)
    assert source.names == ["b2.png", "b10.png", "deep/c.tif", "deep/er/A.JPG"]
    assert source.passed_over() == "passed over files that are no images: 1"
    levels = [item.load()[0, 0] for part in range(source.parts(3)) for item in source.read(part, 3)]
    assert levels[:3] == [10, 0, 30]
    assert abs(int(levels[3]) - 20) <= 1
    assert [item.name for item in source.read(0, 3, skip=2)] == ["deep/c.tif"]


def test_links_in_a_circle_end(photos: Path) -> None:
    (photos / "deep/loop").symlink_to(photos)
    (photos.parent / "elsewhere").mkdir()
    save(photos.parent / "elsewhere/z.png")
    (photos / "link").symlink_to(photos.parent / "elsewhere")
    assert names(photos) == ["b2.png", "b10.png", "deep/c.tif", "deep/er/A.JPG", "link/z.png"]


def test_globs(photos: Path) -> None:
    assert names(f"{photos}/*.png") == ["b2.png", "b10.png"]
    assert names(f"{photos}/**/*") == ["b2.png", "b10.png", "deep/c.tif", "deep/er/A.JPG"]
    assert names(f"{photos}/deep/*/*.JPG") == ["er/A.JPG"]
    assert names(f"{photos}/deep/*/*.JPG", root=photos) == ["deep/er/A.JPG"]
    assert names(photos / "b2.png", photos / "b10.png") == ["b2.png", "b10.png"]  # as a shell expands a glob
    assert names(f"{photos}/{{b2,b10}}.png") == ["b2.png", "b10.png"]


def test_several_folders_share_their_parent(photos: Path, tmp_path: Path) -> None:
    save(tmp_path / "more/b2.png")
    assert names(photos / "deep", tmp_path / "more") == ["more/b2.png", "photos/deep/c.tif", "photos/deep/er/A.JPG"]
    assert names(photos / "deep", photos / "deep/c.tif") == ["c.tif", "er/A.JPG"]  # each image once


def test_lists(photos: Path, tmp_path: Path) -> None:
    (photos / "list.txt").write_text("# training images\n\ndeep/c.tif\nb2.png\nmissing.png\nword.doc\n")
    source = open_source([str(photos / "list.txt")])
    assert isinstance(source, Files)
    assert source.names == ["b2.png", "deep/c.tif", "missing.png", "word.doc"]
    outcomes = []
    for item in source.read(0, 10):
        try:
            outcomes.append(item.load().shape)
        except UserError as error:
            outcomes.append(str(error))
    assert outcomes[:2] == [(8, 10), (8, 10)]
    assert outcomes[2] == "missing.png: no such file, expected an image"
    assert outcomes[3].startswith("word.doc: found the extension '.doc', supported: .jpg")

    (tmp_path / "list.txt").write_text(f"b2.png\n{photos}/deep/c.tif\n")
    assert names(tmp_path / "list.txt", root=photos) == ["b2.png", "deep/c.tif"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/list.txt").write_text("../photos/b2.png\n../photos/deep/c.tif\n")
    assert names(tmp_path / "elsewhere/list.txt") == ["b2.png", "deep/c.tif"]


def test_braces() -> None:
    assert expand_braces("a-{008..011}.tar") == ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]
    assert expand_braces("a-{8..11}.tar") == ["a-8.tar", "a-9.tar", "a-10.tar", "a-11.tar"]
    assert expand_braces("{x,y}-{1..2}") == ["x-1", "x-2", "y-1", "y-2"]
    assert expand_braces("a{b}.tar") == ["a{b}.tar"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "found no input, expected a folder, a glob"),
        (["nowhere"], "nowhere: no such file or folder"),
        (["nowhere/*.png"], "found no image"),
        (["photos/notes.md"], "found the extension '.md', supported: a folder, a glob"),
        (["empty"], r"empty: found no image, supported: .jpg .jpeg"),
        (["texts"], r"texts: found no image \(1 files with other extensions: .md\)"),
        (["a-{0..1}.tar"], "a-0.tar: no such file, expected a tar"),
        (["photos", "x.tar"], "expected only tars, or one HDF5 file"),
        (["x.h5", "y.h5"], "expected only tars, or one HDF5 file"),
        (["x.h5"], "x.h5: not a readable HDF5 file"),
        (["bytes.txt"], "cannot be read as a list"),
        (["null.txt"], "null.txt: cannot be read as a list of paths .it holds a null byte"),
    ],
)
def test_mistakes(photos: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str], message: str) -> None:
    monkeypatch.chdir(photos.parent)
    os.mkdir("empty")
    os.mkdir("texts")
    for name in ("photos/notes.md", "texts/a.md"):
        Path(name).write_text("x")
    Path("bytes.txt").write_bytes(b"\xff\xfe\x00")
    Path("null.txt").write_bytes(b"\x00\x01binary")
    with pytest.raises(UserError, match=message) as caught:
        open_source(inputs)
    assert "\n" not in str(caught.value)


def test_the_root_must_hold_the_images(photos: Path) -> None:
    with pytest.raises(UserError, match="found images outside it"):
        open_source([str(photos / "b2.png")], photos / "deep")
    with pytest.raises(UserError, match="have no root"):
        open_source(["x.tar"], photos)


def test_tars_and_hdf5_are_told_by_their_names(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"x-{number}.tar").touch()
    tars = open_source([f"{tmp_path}/x-{{0..2}}.tar"])
    assert isinstance(tars, TarImages)
    assert tars.parts(64) == 3
    assert tars.urls[2] == f"{tmp_path}/x-2.tar"
    with h5py.File(tmp_path / "images.hdf5", "w") as file:
        file["a/1"] = np.zeros((8, 9), np.uint8)
    assert isinstance(open_source([str(tmp_path / "images.hdf5")]), Hdf5Images)


def test_the_reader_knows_every_extension(tmp_path: Path) -> None:
    unwritable = {".exr", ".hdr", ".jp2", ".avif", ".heic", ".heif", ".hif"}  # by Pillow as it may be built
    for extension in set(EXTENSIONS) - unwritable:
        path = tmp_path / f"a{extension}"
        mode = "1" if extension == ".pbm" else "L"
        Image.new(mode, (16, 16), 1).save(path)
        (item,) = Files(tmp_path, [path.name]).read(0, 1)
        assert item.load().shape == (16, 16), extension
