import shutil
from pathlib import Path

import pytest

from superpoint.data.recipes.hpatches import LARGE, find_problems, list_images, set_large_apart

PIXEL = b"P6 1 1 255 abc"


def make_hpatches(root: Path) -> Path:
    """116 sequences of the right names and numbers, one pixel an image."""
    for kind, count in (("i_", 57), ("v_", 59)):
        large = [name for name in LARGE if name.startswith(kind)]
        for name in [*large, *(f"{kind}{number:02d}" for number in range(count - len(large)))]:
            folder = root / name
            folder.mkdir(parents=True)
            for number in range(1, 7):
                (folder / f"{number}.ppm").write_bytes(PIXEL)
                if number > 1:
                    (folder / f"H_1_{number}").write_text(f"1 0 {number}\n0 1 0\n0 0 1\n")
    return root


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_hpatches(tmp_path / "images")


def test_complete(images: Path) -> None:
    assert find_problems(images) == []
    assert len(list_images(images)) == 696
    assert list_images(images)[0] == "i_00/1.ppm"


def test_large_sequences_are_set_apart_and_come_back(images: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    assert len(find_problems(images, without_large=True)) == 2 + 8  # counts of both kinds, and each by name
    for _ in range(2):
        set_large_apart(images, large, apart=True)
        assert {path.name for path in large.iterdir()} == set(LARGE)
        assert find_problems(images, without_large=True) == []
        assert len(list_images(images)) == 648
    problems = find_problems(images)
    assert "found 52 sequences of illumination (i_*), expected 57" in problems[0]
    assert "found 56 sequences of viewpoint (v_*), expected 59" in problems[1]
    assert "found no i_contruction, i_crownnight" in problems[2]
    for _ in range(2):
        set_large_apart(images, large, apart=False)
        assert not large.exists()
        assert find_problems(images) == []


def test_each_fault_is_named(images: Path) -> None:
    (images / "i_00/3.ppm").unlink()
    (images / "i_01/H_1_4").unlink()
    (images / "v_00/H_1_2").write_text("1 2 3 2 4 6 0 0 1")
    (images / "v_02/7.ppm").write_bytes(PIXEL)
    (images / "v_02/H_1_7").write_text("1 0 0 0 1 0 0 0 1")
    shutil.rmtree(images / "v_03")
    problems = "\n".join(find_problems(images))
    for expected in (
        "found 58 sequences of viewpoint (v_*), expected 59",
        "i_00: found 4 pairs with a homography, expected 5",
        "i_01/H_1_4: no such file",
        "v_00/H_1_2: found a singular matrix",
        "v_02: found 6 pairs with a homography",
    ):
        assert expected in problems
    assert "i_02" not in problems


def test_nothing_there(tmp_path: Path) -> None:
    assert "no such folder" in find_problems(tmp_path / "none")[0]
    (tmp_path / "images").mkdir()
    assert "found no image pair" in find_problems(tmp_path / "images")[0]
