"""Two processes under torchrun (gloo on the CPU) against one."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import torch

from superpoint.engine.run import RunFolder
from superpoint.models.checkpoint import load_checkpoint
from tests.engine import tiny_run as tiny


def test_two_processes_follow_one(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """SGD with rate 1: the first step is the averaged gradient. Then one process goes on where two stopped."""
    two = start(tmp_path / "two", plain=True, batch_size=8, steps=1, torchrun=2)
    tiny.run_tiny(tmp_path / "one", **tiny.plain(tmp_path / "one"), batch_size=8, steps=1)
    output, _ = two.communicate(timeout=120)
    assert two.returncode == 0, output
    assert "device cpu x 2" in output
    assert output.count("connected to the end: False") == 2  # else an abort at exit, now and then

    start_weights = tiny.make_model(norm=False).state_dict()
    weights = {name: load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("one", "two")}
    for name, tensor in weights["one"]["model"].items():
        gradient = start_weights[name] - tensor
        assert float(gradient.abs().max()) > 1e-4
        torch.testing.assert_close(start_weights[name] - weights["two"]["model"][name], gradient, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(weights["two"]["ema"][name], weights["one"]["ema"][name], rtol=1e-4, atol=1e-6)
    losses = [RunFolder(tmp_path / name).history().entries[0]["loss"] for name in ("one", "two")]
    assert abs(losses[0] - losses[1]) < 1e-5 * losses[0]  # the logged loss is that of the whole batch, too

    tiny.run_tiny(tmp_path / "two", **tiny.plain(tmp_path / "two"), batch_size=8, steps=3, resume=True)
    seen = [[int(line) for line in (tmp_path / f"two_seen_{rank}.txt").read_text().split()] for rank in (0, 1)]
    assert seen[1] == [4, 5, 6, 7]
    assert seen[0] == [0, 1, 2, 3, *range(8, 24)]
