import json
import os
from pathlib import Path

import pytest

from superpoint.commands.train import format_age
from superpoint.engine.run import RunFolder
from superpoint.engine.runs import find_runs, read_status
from superpoint.errors import UserError
from tests.conftest import CommandLine


def write(folder: Path, *events: str, stage: str = "train-magicpoint") -> Path:
    with RunFolder.open(folder, config=f"stage: {stage}\nseed: 1\n" if stage else "seed: 1\n") as run:
        run.start(0)
        run.log("train", 10, loss=1.0)
        for step, score in ((10, 0.5), (20, None), (30, 0.25)):
            run.log("validate", step, selected_by="AP", AP=score)
        for event in events:
            run.log(event, 30)
    return folder


def test_states(tmp_path: Path) -> None:
    for state in ("finished", "interrupted"):
        assert read_status(write(tmp_path / state, state)).state == state
    crashed = read_status(write(tmp_path / "crashed"))
    assert (crashed.state, crashed.step, crashed.metric, crashed.score) == ("crashed", 30, "AP", 0.5)
    assert read_status(write(tmp_path / "nonfinite", "nonfinite")).state == "crashed"
    with RunFolder.open(tmp_path / "finished", config="", resume=True):
        running = read_status(tmp_path / "finished")
    assert (running.state, running.resume) == ("running", None)


def test_how_to_go_on(tmp_path: Path) -> None:
    alone = write(tmp_path / "a run", "interrupted")
    command = f"superpoint train-magicpoint --config '{alone}/config.yaml' 'run={alone}' --resume"
    assert read_status(alone).resume == command
    part = write(tmp_path / "chain/superpoint", stage="train-superpoint")
    (tmp_path / "chain/pipeline.yaml").touch()
    chain = tmp_path / "chain"
    assert read_status(part).resume == f"superpoint pipeline --config {chain}/pipeline.yaml run={chain} --resume"
    assert read_status(write(tmp_path / "old", stage="")).resume is None
    (write(tmp_path / "overfit", "interrupted") / "overfit.json").touch()
    assert read_status(tmp_path / "overfit").resume is None
    assert read_status(write(tmp_path / "done", "finished")).resume is None


def test_all_runs_below_a_folder_the_latest_first(tmp_path: Path) -> None:
    first, second = write(tmp_path / "b"), write(tmp_path / "deep/a", "finished")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.yaml").touch()  # a settings file is no run
    for file in first.rglob("*"):
        os.utime(file, (1, 1))
    assert [status.path for status in find_runs(tmp_path)] == [second, first]
    assert [status.path for status in find_runs(second)] == [second]
    with pytest.raises(UserError, match="no such folder"):
        find_runs(tmp_path / "none")


def test_the_command(tmp_path: Path, cli: CommandLine) -> None:
    def output(*arguments: str) -> str:
        return cli.succeeds("runs", tmp_path, *arguments)

    assert "no runs yet" in output()
    write(tmp_path / "x", "interrupted")
    table = output()
    assert "AP 0.500" in table
    assert "train-magicpoint" in table
    assert "go on: superpoint train-magicpoint --config" in table
    (entry,) = json.loads(output("--json"))
    assert (entry["path"], entry["state"], entry["metric"]) == (str(tmp_path / "x"), "interrupted", "AP")
    assert entry["bytes"] > 0


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (61, "1 min"), (7300, "2 h"), (200000, "2 d"), (-1, "0 s")])
def test_ages(seconds: float, text: str) -> None:
    assert format_age(seconds) == text
