"""A run killed by SIGKILL at any instant and resumed ends with the bits of a run that was left alone."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from superpoint.engine.run import RunFolder
from superpoint.models.checkpoint import load_checkpoint

Start = Callable[..., subprocess.Popen[str]]


def finish(process: subprocess.Popen[str], code: int) -> None:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {name: leaf for key in tree for name, leaf in flatten(tree[key], f"{prefix}/{key}").items()}
    return {prefix: tree}


@pytest.mark.parametrize(
    ("precision", "deaths"),
    [
        ("fp32", ["objective:2", "objective:5", "save:2", "validate:1"]),
        ("bf16", ["objective:5", "validate:2"]),
    ],
)
def test_killed_and_resumed_has_the_same_bits(start: Start, tmp_path: Path, precision: str, deaths: list[str]) -> None:
    """Deaths: before any checkpoint; between two; after writing one but before its rename; in a validation."""
    whole = start(tmp_path / "whole", "--precision", precision)
    for number, death in enumerate(deaths):
        resume = ["--resume"] if number else []
        killed = start(tmp_path / "killed", "--precision", precision, "--die", death, *resume)
        finish(killed, -signal.SIGKILL)
    finish(start(tmp_path / "killed", "--precision", precision, "--resume"), 0)
    finish(whole, 0)

    one, two = (flatten(load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt")) for name in ("whole", "killed"))
    assert one["/step"] == 12
    assert one.keys() == two.keys()
    for name, leaf in one.items():
        if isinstance(leaf, torch.Tensor):
            assert torch.equal(leaf, two[name]), name
        elif name != "/elapsed":
            assert leaf == two[name], name
    lines = [RunFolder(tmp_path / name).history().entries for name in ("whole", "killed")]
    kept = [[(line["step"], line["event"]) for line in each] for each in lines]
    assert kept[0] == kept[1]
    assert not list((tmp_path / "killed").rglob("*.tmp"))


def test_ctrl_c_with_workers_saves_and_ends(start: Start, tmp_path: Path) -> None:
    process = start(tmp_path / "run", "--steps", "1000000", "--workers", "1")
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
