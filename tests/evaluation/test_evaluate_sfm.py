import importlib.util
import json
from pathlib import Path

import pytest

from superpoint.visualize import save_image
from tests.conftest import CommandLine
from tests.reconstruction.conftest import corner_view

SETTINGS = ("longest=320", "max_keypoints=300", "seeds=2", "shared_camera=true")


@pytest.mark.skipif(importlib.util.find_spec("pycolmap") is None, reason="needs superpoint[sfm]")
def test_rows_of_a_network_and_sift(cli: CommandLine, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "sfm"
    for index, x in enumerate((-1.2, -0.4, 0.4, 1.2)):
        save_image(photos / f"{index}.png", corner_view(x, -x / 5))
    arguments = ("evaluate", "sfm", photos, "--out", out, *SETTINGS)
    printed = cli.succeeds(*arguments, "matcher=mutual,ratio", "--extractors", "superpoint-lite,sift", "--json")
    rows = json.loads(printed)
    assert [(row["extractor"], row["matcher"]) for row in rows] == [
        ("superpoint-lite", "mutual"), ("superpoint-lite", "ratio"), ("sift", "ratio"),
    ]  # fmt: skip
    network, strict, sift = rows
    assert network["median"]["registered"] == 4
    assert network["median"]["points"] > strict["median"]["points"]
    assert sift["median"]["error"] < 1
    assert all(len(row["models"]) == 2 and row["pairs"] == 6 for row in rows)
    assert "| superpoint-lite | mutual | 6 of 6 | 4 |" in (out / "sfm.md").read_text()
    line = cli.fails(*arguments, "--extractors", "sift", "matcher=nearest")
    assert "matcher: found 'nearest', expected one of mutual, ratio" in line
    for index in (1, 2, 3):
        (photos / f"{index}.png").write_bytes(b"no image")
    code, _, error = cli(*arguments, "--extractors", "sift")
    assert code == 2
    assert "found 1 usable photographs, expected two or more" in error.splitlines()[-1]
