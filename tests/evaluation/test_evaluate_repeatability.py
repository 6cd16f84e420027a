"""Repeatability on generated pairs: the table's figures follow what the detectors do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from superpoint.data.images import sample_photographs
from superpoint.data.pairs import KINDS, generated_pair
from superpoint.errors import UserError
from superpoint.evaluation.evaluate_repeatability import SIZE, Detector, evaluate_repeatability, make_detector, measure
from superpoint.visualize import save_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photographs")
    for name, rgb in sample_photographs()[:2]:
        save_image(path / f"{name}.png", rgb)
    (path / "broken.png").write_bytes(b"not an image")
    return path


def test_networks_and_classical_detectors_beat_chance(folder: Path, tmp_path: Path) -> None:
    methods = ["magicpoint-lite", "adapted:magicpoint-lite", "harris", "random"]
    results = evaluate_repeatability(methods, images=folder, pairs=1, homographies=4, out=tmp_path)
    share = {row["method"]: row["viewpoint"]["3"]["repeatability"] for row in results}
    assert share["random"] < 0.35
    assert min(share[name] for name in methods[:3]) > share["random"] + 0.15
    for row in results:
        for kind in ("viewpoint", "photometric"):
            assert row[kind]["1"]["repeatability"] <= row[kind]["3"]["repeatability"]
    stored = json.loads((tmp_path / "repeatability.json").read_text())
    assert [row["method"] for row in stored["results"]] == methods
    assert "| random |" in (tmp_path / "repeatability.md").read_text()
    again = evaluate_repeatability(["harris", "random"], images=folder, pairs=1, out=tmp_path / "again")
    assert again == results[2:]


def test_a_detector_of_fixed_places_repeats_under_light_but_not_under_motion() -> None:
    rgb = sample_photographs()[0][1]
    gray = np.asarray(rgb.mean(axis=2), np.uint8)
    grid = np.stack(np.meshgrid(np.arange(10, 310, 25), np.arange(10, 230, 25)), axis=-1).reshape(-1, 2)
    detector = Detector("grid", lambda image, name: grid.astype(np.float32))
    pairs = [(kind, generated_pair(gray, "x", 0, kind=kind, size=SIZE)) for kind in ("viewpoint", "photometric")]
    result = measure(detector, pairs)
    assert result["photometric"]["1"]["repeatability"] == 1.0
    assert result["photometric"]["1"]["localisation_error"] == 0.0
    assert result["viewpoint"]["3"]["repeatability"] < 0.3


def test_a_pair_without_any_point_counts_as_nothing_repeated() -> None:
    gray = np.asarray(sample_photographs()[0][1].mean(axis=2), np.uint8)
    pairs = [(kind, generated_pair(gray, "x", i, kind=kind, size=SIZE)) for kind in KINDS for i in range(2)]
    grid = np.stack(np.meshgrid(np.arange(10, 310, 25), np.arange(10, 230, 25)), axis=-1).reshape(-1, 2)

    def blind_half_the_time(image: np.ndarray, name: str) -> np.ndarray:
        return grid.astype(np.float32) if int(name[-1]) % 2 else np.empty((0, 2), np.float32)

    result = measure(Detector("blind", blind_half_the_time), pairs)
    assert result["photometric"]["3"]["repeatability"] == 0.5
    assert result["photometric"]["3"]["localisation_error"] == 0.0
    nothing = measure(Detector("nothing", lambda image, name: np.empty((0, 2), np.float32)), pairs)
    assert nothing["viewpoint"]["1"]["repeatability"] == 0.0
    assert nothing["viewpoint"]["1"]["localisation_error"] is None


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such file"):
        make_detector("adapted:nowhere")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="found no readable photograph"):
        evaluate_repeatability(["harris"], images=tmp_path, out=tmp_path / "out")
