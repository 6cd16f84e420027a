"""Where the tables of `superpoint evaluate synthetic` go."""

import json
import shutil
from pathlib import Path

import pytest

from superpoint.errors import UserError
from superpoint.evaluation import evaluate_synthetic as evaluate
from superpoint.evaluation.evaluate_synthetic import evaluate_run
from superpoint.pretrained import PRETRAINED

NAME = "magicpoint-lite"


@pytest.fixture(autouse=True)
def _no_scenes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Results would take minutes; no run may get as far as here unless a test says so."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("evaluated")

    monkeypatch.setattr(evaluate, "evaluate_synthetic_shapes", fail)
    monkeypatch.chdir(tmp_path)


def write_run(folder: Path) -> None:
    folder.mkdir()
    shutil.copyfile(PRETRAINED / f"{NAME}.safetensors", folder / "weights.safetensors")


def test_a_name_needs_out_and_a_folder_of_that_name_is_not_written_to(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder; say with --out"):
        evaluate_run(NAME)
    package = tmp_path / NAME
    package.mkdir()
    (package / "__init__.py").touch()
    with pytest.raises(UserError, match=f"{NAME}: not a run folder; say with --out"):
        evaluate_run(NAME)
    assert [path.name for path in package.iterdir()] == ["__init__.py"]


def test_a_folder_without_weights_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match="pictures: found no checkpoint"):
        evaluate_run(tmp_path / "pictures")


def test_a_run_is_written_to_whatever_its_name(tmp_path: Path) -> None:
    write_run(tmp_path / NAME)
    with pytest.raises(AssertionError, match="evaluated"):  # that far
        evaluate_run(NAME)
    assert (tmp_path / NAME / "evaluation").is_dir()


def test_keep_does_nothing_twice(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    report = tmp_path / "run" / "evaluation" / "synthetic.json"
    report.parent.mkdir()
    report.write_text(json.dumps([]))
    assert evaluate_run(tmp_path / "run", keep=True) == report
