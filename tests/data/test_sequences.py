from pathlib import Path

import numpy as np
import pytest

from superpoint.data.sequences import find_pairs, read_homography
from superpoint.errors import UserError
from superpoint.visualize import save_image

SLOPPY = "  1.5  0\t3\r\n0 1.5 4 \n\n 0 0  1.5  \n"


def make_sequence(folder: Path, images: int = 3, *, oxford: bool = False) -> Path:
    folder.mkdir(parents=True)
    for number in range(1, images + 1):
        save_image(folder / (f"img{number}.png" if oxford else f"{number}.png"), np.zeros((8, 8), np.uint8))
        if number > 1:
            (folder / (f"H1to{number}p" if oxford else f"H_1_{number}")).write_text(SLOPPY)
    return folder


def test_both_layouts_are_found_in_natural_order(tmp_path: Path) -> None:
    make_sequence(tmp_path / "hpatches" / "v_wall", 11)
    make_sequence(tmp_path / "hpatches" / "i_dark")
    make_sequence(tmp_path / "oxford" / "graf", oxford=True)
    found = find_pairs(tmp_path)
    assert [pair.name for pair in found.pairs] == [
        *["i_dark/1-2", "i_dark/1-3"],
        *[f"v_wall/1-{k}" for k in range(2, 12)],
        *["graf/img1-img2", "graf/img1-img3"],
    ]
    assert {pair.sequence: pair.change for pair in found.pairs} == {
        "i_dark": "illumination",
        "v_wall": "viewpoint",
        "graf": "viewpoint",
    }
    assert found.skipped == []
    assert np.array_equal(found.pairs[0].h_a_b, [[1, 0, 2], [0, 1, 8 / 3], [0, 0, 1]])
    assert len(find_pairs(tmp_path / "oxford" / "graf").pairs) == 2  # a sequence by itself


def test_what_changes_in_a_sequence(tmp_path: Path) -> None:
    for name in ("Trees", "leuven", "ubc", "v_wall", "i_trees", "desk"):
        make_sequence(tmp_path / name, 2, oxford=name[1] != "_")
    assert {pair.sequence: pair.change for pair in find_pairs(tmp_path).pairs} == {
        "Trees": "blur",
        "leuven": "illumination",
        "ubc": "compression",
        "v_wall": "viewpoint",
        "i_trees": "illumination",
        "desk": "desk",
    }


def test_sequences_of_one_name_in_different_folders(tmp_path: Path) -> None:
    for folder in ("day/street", "night/street", "night/yard"):
        make_sequence(tmp_path / folder, 2)
    found = find_pairs(tmp_path)
    assert [pair.name for pair in found.pairs] == ["day/street/1-2", "night/street/1-2", "yard/1-2"]
    assert {pair.change for pair in found.pairs} == {"street", "yard"}


def test_bad_pairs_are_left_out_and_named(tmp_path: Path) -> None:
    folder = make_sequence(tmp_path / "v_one", 6)
    (folder / "H_1_2").unlink()
    (folder / "H_1_3").write_text("1 0 0 0 1 0 0 0")
    (folder / "H_1_4").write_text("1 0 0 2 0 0 0 0 1")
    (folder / "H_1_5").write_text("1 0 0 0 nan 0 0 0 1")
    make_sequence(tmp_path / "v_two", 1)
    found = find_pairs(tmp_path)
    assert [pair.name for pair in found.pairs] == ["v_one/1-6"]
    messages = ["no such file", "8 numbers", "singular", "not finite", "one image"]
    assert len(found.skipped) == len(messages)
    assert all(message in line for message, line in zip(messages, found.skipped, strict=True))


def test_a_set_without_pairs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        find_pairs(tmp_path / "nowhere")
    with pytest.raises(UserError, match="found no image pair"):
        find_pairs(tmp_path)
    make_sequence(tmp_path / "v_two", 1)
    with pytest.raises(UserError, match=r"left out: .*one image"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "found 0 numbers"), (b"one two three", "not a homography"), (b"\xff\xfe\x00", "not a homography")],
)
def test_bad_homography_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "H_1_2"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_homography(path)


def test_strong_perspective_is_not_singular(tmp_path: Path) -> None:
    matrix = np.array([[9e-1, 3e-1, -4e3], [-2e-1, 9e-1, 2e3], [2e-5, -2e-5, 1.0]]) * 1e-4
    path = tmp_path / "H"
    path.write_text(" ".join(map(str, matrix.ravel())))
    assert np.allclose(read_homography(path), matrix / matrix[2, 2])
