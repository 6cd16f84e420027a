from pathlib import Path

import pytest

from tests.classification.data.drawings import write_folder
from tests.conftest import CommandLine


def test_a_list_is_written(tmp_path: Path, cli: CommandLine) -> None:
    write_folder(tmp_path / "data", count=5)
    out = tmp_path / "lists" / "classes.csv"
    code, text, _ = cli("list-classes", str(tmp_path / "data"), "--out", str(out))
    assert code == 0
    assert "12 training and 3 test images" in text
    assert len(out.read_text().splitlines()) == 16


def test_the_configuration_is_printed(cli: CommandLine) -> None:
    code, text, _ = cli("train-classifier", "model.name=vgg11_bn", "--print-config")
    assert code == 0
    assert "name: vgg11_bn" in text
    assert "test_crops: 1" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train-classifier"], "data.train: found nothing, expected a folder"),
        (["train-classifier", "data.train=absent"], "data.train=absent: no such file or folder"),
        (["train-classifier", "data.train=data", "model.name=resnt18"], "did you mean 'resnet18'"),
        (["train-classifier", "data.channels=2"], "data.channels: found 2, expected 3 (RGB) or 1"),
        (["train-classifier", "augment.test_crops=7"], "augment.test_crops: found 7, expected 1, 5 or 10"),
        (["train-classifier", "augment.crop=random"], "augment.crop: found 'random', expected one of resized"),
        (["train-classifier", "augment.scale=[0.5,0.1]"], "augment.scale: found [0.5, 0.1]"),
        (["list-classes", "empty"], "found no sub-folder"),
        (["predict-classes", "data", "--model", "data"], "found no checkpoint"),
        (["predict-classes", "data", "--model", "absent"], "no such file"),
        (["study", "mnist"], "data.train: found nothing"),
        (["study", "mnist", "--rates", "fast"], "--rates: found 'fast', expected numbers"),
        (["study", "depth", "data.train=data", "--depths", "21"], "--depths: found '21', expected one of 8, 14, 20"),
        (["study", "ingredients", "data.train=data", "--pretrain", "absent"], "data.train=absent: no such file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: CommandLine,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data", count=3)
    (tmp_path / "empty").mkdir()
    code, _, error = cli(*arguments)
    last = [line for line in error.splitlines() if line.startswith("error:")]
    assert code == 2
    assert len(last) == 1
    assert message in last[0]
    assert "Traceback" not in error
    assert not list(tmp_path.glob("runs/*/*"))  # found before anything is trained
