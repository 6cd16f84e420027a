from pathlib import Path

import numpy as np
import pytest

from superpoint.classification.data.images import read_class_folder
from superpoint.errors import UserError
from tests.classification.data.drawings import CLASSES, draw, write_folder


def test_classes_and_files_in_natural_order(tmp_path: Path) -> None:
    images = read_class_folder(write_folder(tmp_path, count=11))
    assert images.classes == list(CLASSES)
    assert images.names[:3] == ["1/1.png", "1/2.png", "1/3.png"]
    assert images.names[10] == "1/11.png"
    assert np.array_equal(images.read(12), draw(1, 1))
    assert images.labels[12] == 1


def test_hidden_places_and_other_files_are_passed_over(tmp_path: Path) -> None:
    write_folder(tmp_path, count=2)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "1" / "notes.txt").write_text("x")
    assert len(read_class_folder(tmp_path)) == 6


def test_bad_folders_are_one_clear_line(tmp_path: Path) -> None:
    for folder, message in ((tmp_path / "absent", "no such folder"), (tmp_path, "found no sub-folder")):
        with pytest.raises(UserError, match=message):
            read_class_folder(folder)
    write_folder(tmp_path, count=1, classes=("only",))
    with pytest.raises(UserError, match=r"found one class only \('only'\)"):
        read_class_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="found no image for class 'empty'"):
        read_class_folder(tmp_path)
