"""A run killed by SIGKILL at any instant and resumed ends with the bits of a run that was left alone."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from superpoint.engine.run import RunFolder
from superpoint.models.checkpoint import load_checkpoint
from tests.engine import tiny_run as tiny

Start = Callable[..., subprocess.Popen[str]]


def finish(process: subprocess.Popen[str], code: int) -> None:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output


@pytest.mark.parametrize(
    ("precision", "deaths"),
    [
        ("fp32", ["objective:2", "objective:5", "save:2", "validate:1"]),
        ("bf16", ["objective:5", "validate:2"]),
    ],
)
def test_killed_and_resumed_has_the_same_bits(start: Start, tmp_path: Path, precision: str, deaths: list[str]) -> None:
    """Deaths: before any checkpoint; between two; after writing one but before its rename; in a validation."""
    alone = start(tmp_path / "whole", precision=precision)
    for number, death in enumerate(deaths):
        killed = start(tmp_path / "killed", precision=precision, die=death, resume=number > 0)
        finish(killed, -signal.SIGKILL)
    finish(start(tmp_path / "killed", precision=precision, resume=True), 0)
    finish(alone, 0)

    whole, parts = (RunFolder(tmp_path / name) for name in ("whole", "killed"))
    tiny.assert_same_bits(whole.path, parts.path)
    assert load_checkpoint(parts.last)["step"] == 12
    kept = [[(line["step"], line["event"]) for line in run.history().entries] for run in (whole, parts)]
    assert kept[0] == kept[1]
    assert not list((tmp_path / "killed").rglob("*.tmp"))


def test_ctrl_c_with_workers_saves_and_ends(start: Start, tmp_path: Path) -> None:
    process = start(tmp_path / "run", steps=1000000, workers=1)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("train") > 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    finish(process, 130)
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    last = RunFolder(tmp_path / "run").history().entries[-1]
    assert (last["event"], last["step"]) == ("interrupted", state["step"])
