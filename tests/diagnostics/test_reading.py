"""Run folders, whole and damaged, read as cases."""

import shutil
from pathlib import Path

import pytest
import torch

from superpoint.data.samples import SyntheticShapes
from superpoint.diagnostics.case import read_crash
from superpoint.diagnostics.reading import read_case, read_run
from superpoint.engine import RunFolder
from superpoint.errors import UserError
from tests.diagnostics.real_runs import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading") / "run"
    return train(folder, "seed=4", "train.ema=0.9", "train.steps=4", "loss.positive_weight=5")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def message(run: Path) -> str:
    with pytest.raises(UserError) as error:
        read_case(run)
    text = str(error.value)
    assert "\n" not in text
    assert str(run) in text
    return text


def test_a_case_is_what_was_trained(trained: Path) -> None:
    reading = read_run(trained)
    case = reading.case
    assert (reading.step, reading.weights.name, case.folder) == (4, "last.ckpt", trained)
    assert (case.config.seed, case.config.data.height) == (4, 48)
    assert case.objective.positive_weight == 5  # type: ignore[attr-defined]
    assert not case.model.training
    stored = torch.load(reading.weights, weights_only=True)
    state = case.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in stored["model"].items())
    assert any(not torch.equal(state[name], value) for name, value in stored["ema"].items())  # not the average
    assert [entry["step"] for entry in case.events("train")] == [2, 4]
    expected = SyntheticShapes(case.config.data, 4)[7]
    assert all(torch.equal(expected[key], case.dataset[7][key]) for key in expected)


def test_the_best_checkpoint_stands_in_for_the_last(run: Path) -> None:
    (run / "checkpoints/last.ckpt").unlink()
    assert read_run(run).weights.name == "best.ckpt"


def test_a_run_that_blew_up_before_its_first_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(UserError, match="nonfinite_step"):
        train(folder, "train.steps=40", "optimizer.name=sgd", "optimizer.lr=1e9", "train.clip_norm=0")
    reading = read_run(folder)
    assert reading.weights.name == f"nonfinite_step_{reading.step}.pt"
    assert reading.history.entries[-1]["event"] == "nonfinite"
    crash = read_crash(reading.weights)
    assert crash.step == reading.step
    state = reading.case.model.state_dict()
    assert all(torch.equal(state[name].nan_to_num(), value.nan_to_num()) for name, value in crash.weights.items())
    reading.weights.write_bytes(reading.weights.read_bytes()[:500])
    assert "truncated" in message(folder)


def test_no_folder_or_no_run(tmp_path: Path) -> None:
    assert "no such run folder" in message(tmp_path / "nowhere")
    assert "not a run folder" in message(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"x")
    assert "not a run folder" in message(tmp_path / "weights.safetensors")


def test_checkpoints_that_cannot_be_used(run: Path) -> None:
    config, path = run / "config.yaml", run / "checkpoints/last.ckpt"
    text = config.read_text()
    config.write_text(text.replace("head_channels: 16", "head_channels: 24"))
    assert "another architecture" in message(run)
    config.write_text(text)
    path.write_bytes(path.read_bytes()[:1000])
    assert "not a readable checkpoint" in message(run)
    shutil.rmtree(run / "checkpoints")
    assert "found no checkpoint" in message(run)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: [", "not valid YAML"),
        ("seed: 3", "found no stage"),
        ("stage: train-magicpoint\nsed: 3", "sed"),
        ("stage: train-magicpoint\nseed: three", "seed"),
        ("- 1", "expected a mapping"),
    ],
)
def test_a_damaged_configuration(run: Path, text: str, words: str) -> None:
    (run / "config.yaml").write_text(text)
    assert words in message(run)


def test_a_half_written_last_line_is_no_damage(run: Path) -> None:
    whole = RunFolder.existing(run).history()
    assert not whole.truncated
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "event": "tra')
    history = RunFolder.existing(run).history()
    assert history.truncated
    assert history.entries == whole.entries
    assert (history.damaged, history.note, history.step) == ([], "", 4)


def test_damaged_lines_in_the_middle_are_counted(run: Path) -> None:
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    damaged = [lines[0], b"\xff\x00", b'{"step": 3}', b"[]", *lines[1:]]
    path.write_bytes(b"\n".join(damaged) + b"\n")
    history = RunFolder.existing(run).history()
    assert history.damaged == [2, 3, 4]
    assert "3 damaged lines" in history.note
    assert len(history.entries) == len(lines)
    assert len(read_case(run).history) == len(lines)


def test_nothing_logged_yet(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    history = RunFolder.existing(run).history()
    assert (history.entries, history.step) == ([], 0)
    assert read_case(run).history == []
