import json
import math
from pathlib import Path

import numpy as np
import pytest

from superpoint.engine.run import RunFolder
from superpoint.errors import UserError


def test_files_of_a_session(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "deep" / "run", config="seed: 1\n") as run:
        assert [path.name for path in run.path.iterdir()] == ["run.lock"]
        run.start(0)
        run.log("train", 1, loss=0.5)
    assert run.config_file.read_text() == "seed: 1\n"
    environment = json.loads(run.environment_file.read_text())
    assert environment["versions"]["torch"]
    assert environment["argv"]
    assert environment["cpu"]
    assert environment["git"] is None or len(environment["git"]["revision"]) == 40
    assert run.lock.holder() is None
    assert not (run.path / "run.lock").exists()
    assert run.history().entries == [{"step": 1, "event": "train", "loss": 0.5}]


def test_an_occupied_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match=r"run=.*: the folder is not empty; go on with it by --resume"):
        RunFolder.open(tmp_path, config="")
    with pytest.raises(UserError, match="holds other files and no run to resume"):
        RunFolder.open(tmp_path, config="", resume=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("resume", [False, True])
def test_what_a_session_killed_before_its_first_file_left_bars_nobody(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("environment.json.99.tmp", "run.lock"):
        (tmp_path / name).touch()
    with RunFolder.open(tmp_path, config="", resume=resume) as run:
        run.start(0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "config.yaml", "environment.json"]


def test_resume_drops_later_lines_and_a_torn_one(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, config="a: 1\n") as run:
        run.start(0)
        for step in range(1, 6):
            run.log("train", step, loss=1 / step)
    with open(run.metrics_file, "a") as file:
        file.write('{"step": 3, "event": "val')
    (run.checkpoints / "last.ckpt.123.tmp").write_text("half")
    assert [entry["step"] for entry in run.history().entries] == [1, 2, 3, 4, 5]

    with RunFolder.open(tmp_path, config="a: 2\n", resume=True) as run:
        assert run.config_file.read_text() == "a: 1\n"  # until it is sure that the run can go on
        run.start(3)
        run.log("train", 4, loss=0.0)
    assert [entry["step"] for entry in run.history().entries] == [1, 2, 3, 4]
    assert run.metrics_file.read_text().count("\n") == 4
    assert run.config_file.read_text() == "a: 2\n"
    assert not list(run.checkpoints.iterdir())
    sessions = json.loads(run.environment_file.read_text())["earlier_sessions"]
    assert len(sessions) == 1


def test_start_at_0_drops_everything(tmp_path: Path) -> None:
    for _ in range(2):
        with RunFolder.open(tmp_path, config="", resume=True) as run:
            run.start(0)
            run.log("initial_loss", 0, loss=4.2)
    assert len(RunFolder(tmp_path).history().entries) == 1


def test_numbers_that_json_does_not_know(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, config="") as run:
        run.start(0)
        run.log("validate", 1, a=math.nan, b={"c": np.float32(0.5), "d": [math.inf, np.int64(3)]}, e=None, f=True)
    (entry,) = run.history().entries
    assert entry == {
        "step": 1, "event": "validate", "a": None, "b": {"c": 0.5, "d": [None, 3]}, "e": None, "f": True,
    }  # fmt: skip


def test_tensorboard_holds_scalars_and_images(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunFolder.open(tmp_path, config="") as run:
        run.start(0)
        run.log("validate", 3, clean={"ap": 0.25})
        run.log("interrupted", 3, elapsed=1.0)
        run.log_images(3, {"heatmap": np.zeros((4, 5, 3), np.uint8)})
    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    assert events.Tags()["scalars"] == ["validate/clean/ap"]
    assert [(event.step, event.value) for event in events.Scalars("validate/clean/ap")] == [(3, 0.25)]
    assert events.Images("heatmap")[0].width == 5


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run", config="", main=False) as run:
        run.start(0)
        run.log("train", 1, loss=1.0)
        run.log_images(1, {"a": np.zeros((1, 1, 3), np.uint8)})
    assert list(tmp_path.iterdir()) == []
