import gzip
from pathlib import Path

import numpy as np
import pytest

from superpoint.classification.data.idx import is_idx, labels_beside, read_idx, read_idx_pair
from superpoint.errors import UserError
from tests.classification.data.drawings import idx_bytes, write_idx


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    (tmp_path / "a.idx").write_bytes(bytes.fromhex("00000801 00000003 050009"))
    assert read_idx(tmp_path / "a.idx", 1).tolist() == [5, 0, 9]


def test_gzip_is_seen_by_content_not_by_name(tmp_path: Path) -> None:
    content = idx_bytes(np.arange(6, dtype=np.uint8).reshape(1, 2, 3))
    (tmp_path / "a-ubyte").write_bytes(gzip.compress(content))
    assert read_idx(tmp_path / "a-ubyte", 3).shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with , expected an IDX file"),
        (b"\x89PNG\r\n\x1a\n" * 4, "begins with 89 50 4e 47, expected an IDX file, 00 00 08 03"),
        (b"\0\0\x0d\x03" + bytes(12), "begins with 00 00 0d 03"),
        (b"\0\0\x08\x03\0\0", "expected an IDX file, 00 00 08 03 and the sizes"),
        (idx_bytes(np.zeros((4, 3, 3), np.uint8))[:-1], "found 51 bytes, expected 52 for 4 x 3 x 3"),
        (idx_bytes(np.zeros((4, 1, 1), np.uint8)) + b"x", "found 21 bytes, expected 20"),
        (gzip.compress(idx_bytes(np.zeros((4, 10, 10), np.uint8)), mtime=0)[:-12], "cannot be read"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.idx").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_idx(tmp_path / "a.idx", 3)
    assert str(tmp_path / "a.idx") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pair_is_found_by_name(tmp_path: Path) -> None:
    pixels, labels = read_idx_pair(write_idx(tmp_path, count=2))
    assert pixels.shape == (6, 24, 24)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert labels_beside(Path("d/t10k-images-idx3-ubyte.gz")) == Path("d/t10k-labels-idx1-ubyte.gz")


def test_a_pair_that_does_not_fit(tmp_path: Path) -> None:
    images = write_idx(tmp_path, count=2)
    (tmp_path / "five").write_bytes(idx_bytes(np.zeros(5, np.uint8)))
    with pytest.raises(UserError, match="found 5 labels, expected one for each of the 6 images"):
        read_idx_pair(images, tmp_path / "five")
    with pytest.raises(UserError, match="begins with 00 00 08 03, expected an IDX file, 00 00 08 01"):
        read_idx_pair(images, images)
    with pytest.raises(UserError, match="does not tell where the labels are"):
        read_idx_pair(tmp_path / "five")


def test_names() -> None:
    assert is_idx("train-images-idx3-ubyte.gz")
    assert is_idx("a.idx")
    assert not is_idx("list.csv")
