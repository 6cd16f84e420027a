"""Repeatability on generated pairs: the table's figures follow what the extractors do."""

import json
from pathlib import Path

import numpy as np
import pytest

from superpoint.config.evaluation import EvaluateRepeatabilityConfig
from superpoint.data.images import sample_photographs
from superpoint.errors import UserError
from superpoint.evaluation import evaluate_repeatability as stage
from superpoint.evaluation.evaluate_repeatability import evaluate_repeatability
from superpoint.evaluation.extractors import Extractor
from superpoint.features import Features
from superpoint.visualize import save_image

CONFIG = EvaluateRepeatabilityConfig(pairs=1, homographies=4)
GRID = np.stack(np.meshgrid(np.arange(10, 310, 25), np.arange(10, 230, 25)), axis=-1).reshape(-1, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photographs")
    for name, rgb in sample_photographs()[:2]:
        save_image(path / f"{name}.png", rgb)
    (path / "broken.png").write_bytes(b"not an image")
    return path


def test_networks_and_classical_detectors_beat_chance(folder: Path, tmp_path: Path) -> None:
    names = ["magicpoint-lite", "adapted:magicpoint-lite", "harris", "random"]
    results = evaluate_repeatability(CONFIG, names, images=folder, out=tmp_path)
    share = {row["extractor"]: row["viewpoint"]["3"]["repeatability"] for row in results}
    assert share["random"] < 0.35
    assert min(share[name] for name in names[:3]) > share["random"] + 0.15
    for row in results:
        for kind in ("viewpoint", "photometric"):
            assert row[kind]["1"]["repeatability"] <= row[kind]["3"]["repeatability"]
    stored = json.loads((tmp_path / "repeatability.json").read_text())
    assert [row["extractor"] for row in stored["results"]] == names
    assert "| random |" in (tmp_path / "repeatability.md").read_text()
    again = evaluate_repeatability(CONFIG, ["harris", "random"], images=folder, out=tmp_path / "again")
    assert again == results[2:]


def test_fixed_keypoints_repeat_under_light_but_not_under_motion(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One finds nothing in the images of one photograph; a pair without any keypoint counts as nothing repeated."""
    seen: list[bytes] = []

    def make(name: str, *_: object, **__: object) -> Extractor:
        def extract(image: np.ndarray) -> Features:
            if image.tobytes() not in seen:
                seen.append(image.tobytes())
            blind = name == "blind" or (name == "half" and seen.index(image.tobytes()) >= 4)
            return Features(GRID[:0] if blind else GRID, image_size=(320, 240))

        return Extractor(name, name, extract)

    monkeypatch.setattr(stage, "make_extractor", make)
    grid, half, blind = evaluate_repeatability(CONFIG, ["grid", "half", "blind"], images=folder, out=tmp_path)
    assert grid["photometric"]["1"]["repeatability"] == 1.0
    assert grid["photometric"]["1"]["localisation_error"] == 0.0
    assert grid["viewpoint"]["3"]["repeatability"] < 0.3
    assert half["photometric"]["3"]["repeatability"] == 0.5
    assert half["photometric"]["3"]["localisation_error"] == 0.0
    assert blind["viewpoint"]["1"]["repeatability"] == 0.0
    assert blind["viewpoint"]["1"]["localisation_error"] is None


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such file"):
        evaluate_repeatability(CONFIG, ["adapted:nowhere"], out=tmp_path / "out")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="found no usable image pair"):
        evaluate_repeatability(CONFIG, ["harris"], images=tmp_path, out=tmp_path / "out")
