"""Every script runs, is short, and shows its commands."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "scripts").glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_is_short_and_answers_help(path: Path, tmp_path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 25
    assert f"python scripts/{path.name}" in path.read_text()
    command = [sys.executable, str(path), "--help"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout


def test_there_are_scripts() -> None:
    assert {path.stem for path in SCRIPTS} >= {"train_magicpoint", "evaluate", "visualize_dataset", "detect_samples"}
