from pathlib import Path

import numpy as np
import pytest

from superpoint.classification.data.csv_list import read_csv_list, split_numbers, write_csv_list
from superpoint.errors import UserError
from tests.classification.data.drawings import CLASSES, draw, write_folder


def test_a_list_written_from_a_folder_reads_back(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", count=10)
    counts = write_csv_list(tmp_path / "data", tmp_path / "list.csv", seed=1)
    found = read_csv_list(tmp_path / "list.csv")
    assert counts == {"train": 24, "test": 6} == {name: len(images) for name, images in found.items()}
    assert found["train"].classes == list(CLASSES)
    assert found["test"].counts().tolist() == [2, 2, 2]
    for images in found.values():
        for number, name in enumerate(images.names):
            label, index = CLASSES.index(name.split("/")[1]), int(Path(name).stem) - 1
            assert images.labels[number] == label
            assert np.array_equal(images.read(number), draw(label, index))


def test_the_list_is_shuffled_by_its_seed(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", count=10)
    texts = []
    for seed in (0, 0, 1):
        write_csv_list(tmp_path / "data", tmp_path / "list.csv", seed=seed)
        texts.append((tmp_path / "list.csv").read_text())
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].splitlines()[0] == "path,label,split"
    assert texts[0].splitlines()[1:] != sorted(texts[0].splitlines()[1:])


def test_split_takes_of_every_class() -> None:
    labels = np.array([0] * 10 + [1] * 2 + [2])
    train, test = split_numbers(labels, 0.2, 3)
    assert np.bincount(labels[train], minlength=3).tolist() == [8, 1, 1]
    assert np.bincount(labels[test], minlength=3).tolist() == [2, 1, 0]
    assert sorted([*train, *test]) == list(range(13))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "expected the columns path,label"),
        (["file,class", "1/1.png,a"], "line 1: found 'file,class', expected the columns path,label"),
        (["path,label"], "found no image"),
        (["path,label", "1/1.png,0", "1/99.png,1"], "line 3: .*99.png: no such image"),
        (["path,label", "1/1.png,0", "2/1.png"], "line 3: found 1 columns, expected 2"),
        (["path,label", "1/1.png,0", "2/1.png,"], "line 3: found no label"),
        (["path,label", "1/1.png,0", ",1"], "line 3: found no path"),
        (["path,label", "1/1.png,0", "2/1.png,0"], "found one class only"),
        (["path,label", "1/1.png,a", "1/1.png,b"], "line 3: found '1/1.png' again"),
        (["path,label,split", "1/1.png,a,train", "2/1.png,b,dev"], "found split 'dev', expected train or test"),
    ],
)
def test_bad_lists_are_one_clear_line(tmp_path: Path, lines: list[str], message: str) -> None:
    write_folder(tmp_path, count=1)
    (tmp_path / "list.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=message) as caught:
        read_csv_list(tmp_path / "list.csv")
    assert "list.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classes_may_be_named(tmp_path: Path) -> None:
    write_folder(tmp_path, count=1)
    (tmp_path / "numbers.csv").write_text("path,label\n1/1.png,2\n2/1.png,0\n")
    found = read_csv_list(tmp_path / "numbers.csv", classes=["a", "b", "c"])[""]
    assert found.labels.tolist() == [2, 0]
    assert found.classes == ["a", "b", "c"]
    with pytest.raises(UserError, match="line 2: found label '2', expected one of a, b"):
        read_csv_list(tmp_path / "numbers.csv", classes=["a", "b"])
    (tmp_path / "names.csv").write_text("path,label\n1/1.png,b\n2/1.png,z\n")
    with pytest.raises(UserError, match="line 3: found label 'z', expected one of a, b"):
        read_csv_list(tmp_path / "names.csv", classes=["a", "b"])
