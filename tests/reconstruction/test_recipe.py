"""The whole way from photographs to a page, its mistakes, and its end by SIGKILL in every phase."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from superpoint.data.feature_file import FeatureFile
from superpoint.errors import UserError
from superpoint.reconstruction import mapping
from superpoint.reconstruction.match_file import read_all_matches
from superpoint.visualize import save_image
from tests.conftest import CommandLine, photograph

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pycolmap") is None, reason="needs superpoint[sfm]")
OPTIONS = ("--model", "superpoint-lite", "--max-keypoints", 300, "--shared-camera")


def test_a_model_of_a_corner(cli: CommandLine, corner: Path, tmp_path: Path) -> None:
    """All that is made, that it is not made twice, and what stands in the way of going on."""
    out = tmp_path / "model"
    printed = cli.succeeds("reconstruct", corner, "--out", out, *OPTIONS)
    assert "5 of 5 registered" in printed
    report = json.loads((out / "statistics.json").read_text())
    assert report["registered"] == report["images"] == 5
    assert list(report["skipped"]) == ["broken.png"]
    assert report["points"] > 100
    assert report["error"] < 1
    assert (out / "points.ply").read_bytes().startswith(b"ply")
    assert (out / "model.png").stat().st_size > 10_000
    assert "view 3.png" in (out / "model.html").read_text()
    colmap = mapping.load_pycolmap()
    model = colmap.Reconstruction(out / "sparse")
    centres = np.array([model.find_image_with_name(f"view {index}.png").projection_center() for index in range(5)])
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)  # the cameras stand in a row, at even steps
    assert steps / steps.mean() == pytest.approx(1, abs=0.1)
    assert np.linalg.norm(centres[-1] - centres[0]) == pytest.approx(steps.sum(), rel=0.02)

    made = {path: path.stat().st_mtime_ns for path in (out / "features.h5", out / "matches.h5", out / "database.db")}
    cli.succeeds("reconstruct", corner, "--out", out, *OPTIONS)
    assert all(path.stat().st_mtime_ns == time for path, time in made.items())
    line = cli.fails("reconstruct", corner, "--out", out, *OPTIONS, "--seed", 3)
    assert "was begun with seed 0, found 3; take another --out" in line
    line = cli.fails("reconstruct", corner, "--out", out, "--model", "superpoint", *OPTIONS[2:])
    assert "was begun with weights" in line
    (out / "sparse/points3D.bin").write_bytes(b"no model")
    assert "not a readable model of COLMAP" in cli.fails("reconstruct", corner, "--out", out, *OPTIONS)
    shutil.rmtree(out / "sparse")
    (out / "database.db").unlink()
    (out / "matches.h5").write_bytes(b"no matches")
    assert "matches.h5: cannot be read as matches" in cli.fails("reconstruct", corner, "--out", out, *OPTIONS)


def test_photographs_that_make_no_model(cli: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    save_image(folder / "one.png", photograph("astronaut"))
    line = cli.fails("reconstruct", folder, "--out", tmp_path / "model", *OPTIONS)
    assert "found one photograph, one.png, expected two or more" in line
    (folder / "two.png").write_bytes((folder / "one.png").read_bytes()[:500])
    for name, reason in (
        ("truncated", "found 1 image(s) with keypoints, expected two or more"),
        ("apart", "that overlap"),
    ):
        if name == "apart":
            save_image(folder / "two.png", photograph("coffee"))
        code, _, error = cli("reconstruct", folder, "--out", tmp_path / name, *OPTIONS)
        assert (code, error.splitlines()[-1][:7]) == (2, "error: ")  # the lines before it tell the progress
        assert reason in error.splitlines()[-1]
    line = cli.fails("reconstruct", folder, "--out", tmp_path / "corners", "--model", "magicpoint-lite")
    assert "a detector without descriptors" in line


def test_a_missing_pycolmap_is_told_first(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    line = cli.fails("reconstruct", tmp_path, "--out", tmp_path / "model")
    assert "pip install 'superpoint[sfm]'" in line
    assert not (tmp_path / "model").exists()
    with pytest.raises(UserError, match="'pycolmap' is not installed"):
        mapping.load_pycolmap()


@pytest.mark.slow
def test_killed_in_every_phase(corner: Path, tmp_path: Path, project: Path) -> None:
    """Each session dies where the one before could go on; what is left at the end is what one session makes."""
    killed, whole = tmp_path / "model", tmp_path / "model.whole"
    places = [
        "features", "features+", "pair", "shard", "shard+", "shard+", "merge", "matches+", "database", "database+",
        "verify", "verify+", "map", "image", "image", "map+", "publish", "publish+",
    ]  # fmt: skip
    command = [sys.executable, str(Path(__file__).with_name("recipe_program.py")), str(corner), str(killed), *places]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(project)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.count("registered 5") == 2
    with FeatureFile(killed / "features.h5") as one, FeatureFile(whole / "features.h5") as two:
        assert one.names() == two.names()
        found = [read_all_matches(out / "matches.h5", one.names()) for out in (killed, whole)]
    assert list(found[0]) == list(found[1])
    assert all(np.array_equal(found[0][pair].indices, found[1][pair].indices) for pair in found[0])
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())
