"""Two trainings in one folder: the second is refused, the first stays whole, and a killed one bars nobody."""

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from superpoint import lock
from superpoint.engine.run import RunFolder
from superpoint.errors import UserError
from tests.engine import tiny_run as tiny

Start = Callable[..., subprocess.Popen[str]]


@pytest.mark.parametrize("resume", [False, True])
def test_of_two_trainings_started_together_one_goes_on(start: Start, tmp_path: Path, resume: bool) -> None:
    processes = [start(tmp_path / "run", steps=400, resume=resume) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2], outputs
    winner, loser = processes[codes.index(0)], outputs[codes.index(2)]
    (line,) = (line for line in loser.splitlines() if line.startswith("error: "))
    assert f"process {winner.pid} on {os.uname().nodename} since 20" in line
    steps = [entry["step"] for entry in RunFolder(tmp_path / "run").history().events("train")]
    assert steps == list(range(2, 401, 2))
    assert not (tmp_path / "run/run.lock").exists()


def test_a_killed_training_can_be_resumed_at_once(start: Start, tmp_path: Path) -> None:
    """Also while its loader process, a fork of it, still lives."""
    process = start(tmp_path, steps=1000000, workers=1)
    deadline = time.monotonic() + 60
    while not (tmp_path / "checkpoints/last.ckpt").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    holder = RunFolder(tmp_path).lock.holder()
    assert holder is not None
    assert str(process.pid) in holder
    with pytest.raises(UserError, match=f"process {process.pid} on .* trains into this folder"):
        tiny.run_tiny(tmp_path, resume=True)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert process.stdout is not None
    process.stdout.close()  # its loader process may still hold the other end
    assert (tmp_path / "run.lock").exists()
    assert RunFolder(tmp_path).lock.holder() is None
    with RunFolder.open(tmp_path, config="", resume=True) as run:
        assert f"process {os.getpid()} " in (run.lock.holder() or "")
        with pytest.raises(UserError, match="this process trains into this folder"):
            RunFolder.open(tmp_path, config="", resume=True)
    assert not (tmp_path / "run.lock").exists()


def test_all_processes_of_torchrun_end_if_the_folder_is_in_use(start: Start, tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, config=""):
        process = start(tmp_path, torchrun=2)
        output = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert output.count("trains into this folder") == 1


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(file: int) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_try_lock", refuse)
    with RunFolder.open(tmp_path, config="") as run:
        run.start(0)
        assert run.lock.holder() is None
    assert "has no locks" in capsys.readouterr().err
    assert not (tmp_path / "run.lock").exists()
