from collections.abc import Callable
from pathlib import Path

import pytest

from superpoint.classification.data.csv_list import read_csv_list
from superpoint.config import LabellingConfig, load_config
from superpoint.data.label_files import read_points
from superpoint.data.sequences import read_homography
from superpoint.data.sources.source import Files, open_source
from superpoint.errors import UserError
from superpoint.files import append, read_text
from superpoint.interop.hloc import read_pairs
from tests.conftest import files_of_at_most, write_photographs


def image_list(path: Path) -> list[str]:
    source = open_source([str(path)])
    assert isinstance(source, Files)
    return source.names


READERS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "list of images": ("list.txt", "astronaut.png\ncamera.png\n", image_list),
    "pairs": ("pairs.txt", "a.jpg b.jpg\nc.jpg d.jpg\n", read_pairs),
    "homography": ("H_1_2", "1 0 5\n0 1 -3\n0 0 1\n", lambda path: read_homography(path).tolist()),
    "points": ("points.csv", "x,y\n1.5,2\n3,4\n", lambda path: read_points(path).tolist()),
    "classes": (
        "classes.csv",
        "path,label\nastronaut.png,a\ncamera.png,b\n",
        lambda path: [(each.names, each.labels.tolist()) for each in read_csv_list(path, path.parent).values()],
    ),
    "configuration": (
        "labels.yaml",
        "stage: export-detections\nresize: 64\n",
        lambda path: load_config(LabellingConfig, path),
    ),
}


@pytest.mark.parametrize("kind", READERS)
def test_marks_and_line_ends_of_other_editors_change_nothing(tmp_path: Path, kind: str) -> None:
    name, text, read = READERS[kind]
    write_photographs(tmp_path, 2)
    (tmp_path / name).write_text(text, newline="\n")
    expected = read(tmp_path / name)
    windows = text.replace("\n", "\r\n")
    for content in (windows.encode("utf-8-sig"), windows.encode("utf-16"), text.replace("\n", "\r").encode()):
        (tmp_path / name).write_bytes(content)
        assert read(tmp_path / name) == expected, content[:4]


def test_a_mark_of_either_byte_order(tmp_path: Path) -> None:
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8")):
        (tmp_path / "a.txt").write_bytes(mark + "größe\r\n".encode(encoding))
        assert read_text(tmp_path / "a.txt") == "größe\n"


def test_what_is_appended_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, b"one\n")
    with files_of_at_most(6), pytest.raises(UserError, match="log: cannot be written"):
        append(path, b"second\n")
    append(path, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
