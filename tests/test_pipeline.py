"""The commands of the README, in miniature and in processes of their own (slow)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from superpoint.engine import RunFolder
from tests.conftest import TINY_TRAINING

pytestmark = pytest.mark.slow

SETTINGS = [*TINY_TRAINING, "validation.images=4"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def superpoint(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "superpoint", *arguments]


def run(command: list[str], folder: Path) -> str:
    result = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


def test_the_four_commands_of_the_readme(tmp_path: Path) -> None:
    run(superpoint("visualize-dataset", "--out", "dataset", "--columns", "2", "--index", "7"), tmp_path)
    assert {path.name for path in (tmp_path / "dataset").iterdir()} == {"primitives.png", "samples.png", "sample_7.png"}
    run(superpoint("train-magicpoint", *SETTINGS, "train.steps=4", "run=run"), tmp_path)
    run(superpoint("evaluate", "synthetic", "--model", "run", "scenes=9"), tmp_path)
    output = run(superpoint("detect-samples", "--model", "run", "--max-keypoints", "20"), tmp_path)
    assert "pictures: run/detections" in output
    assert (tmp_path / "run/detections/all.png").exists()


def test_find_lr_draws_its_curve(tmp_path: Path) -> None:
    output = run(superpoint("find-lr", *SETTINGS, "train.steps=30", "--steps", "30", "--out", "lr"), tmp_path)
    assert "lr/lr_finder.png" in output
    found = json.loads((tmp_path / "lr/lr_finder.json").read_text())
    assert len(found["rates"]) == len(found["losses"]) > 5


def test_torchrun_trains_on_the_same_samples(tmp_path: Path, project: Path) -> None:
    options = [*SETTINGS, "train.report=false", "train.steps=4"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    run([*launcher, str(project / "scripts/train_magicpoint.py"), *options, "run=two"], tmp_path)
    run(superpoint("train-magicpoint", *options, "run=one"), tmp_path)
    one, two = (
        [line["loss"] for line in RunFolder(tmp_path / name).history().events("train")] for name in ("one", "two")
    )
    # Batch-norm statistics are those of each process's share, so the curves agree, but not to the last digit.
    assert two == pytest.approx(one, rel=0.03)
