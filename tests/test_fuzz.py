"""Damaged feature files, weights and checkpoints: a result or one clear line, never a crash, a hang or their code.

The cases run in a process of their own (`fuzz_readers.py`), because the HDF5 library is C.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from superpoint.errors import UserError
from superpoint.models.checkpoint import REQUIRED_KEYS, save_checkpoint
from superpoint.models.weights import load_weights

KINDS = ("features", "images", "texts", "weights", "checkpoint", "pickle", "exploit")


def run(project: Path, folder: Path, kind: str, first: int, count: int) -> dict[str, int]:
    program = project / "tests" / "fuzz_readers.py"
    command = [sys.executable, "-W", "ignore", str(program), kind, str(folder), str(first), str(count)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(project)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=environment)
    case = (folder / "case").read_text() if (folder / "case").exists() else "none"
    assert result.returncode == 0, f"{kind}: ended by {result.returncode} at case {case}: {result.stderr[-2000:]}"
    found = json.loads(result.stdout)
    assert found["failures"] == []
    assert found["result"] + found["error"] == count
    return found


def test_some(project: Path, tmp_path: Path) -> None:
    found = run(project, tmp_path, "features", 0, 40)
    assert found["error"] > 28


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_three_thousand(project: Path, tmp_path: Path, kind: str) -> None:
    """3,150 in all."""
    found = run(project, tmp_path, kind, 1000, 450)
    assert found["error"] > 200
    assert (found["result"] > 0) == (kind != "exploit")  # damages that do not matter, such as in the weights themselves


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": "model: [1\n  x"}, "not YAML"),
        ({"config": None}, "no section 'model'"),
        ({"model": None}, "found no weights in it"),
        ({"model": {"a": 3}}, "found no weights in it"),
    ],
)
def test_checkpoint_of_nonsense(change: dict[str, object], message: str, tmp_path: Path) -> None:
    state = {**{str(key): None for key in REQUIRED_KEYS}, "config": "model: {}", **change}
    save_checkpoint(tmp_path / "a.ckpt", state)
    with pytest.raises(UserError, match=message):
        load_weights(tmp_path / "a.ckpt")
