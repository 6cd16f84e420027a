"""Rounds of labelling and training, restartable, on a handful of small photographs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from superpoint.config import AdaptConfig, load_config
from superpoint.data.images import sample_photographs
from superpoint.data.labels import LabelFile
from superpoint.errors import UserError
from superpoint.models.weights import load_weights
from superpoint.stages.adapt import adapt
from superpoint.visualize import save_image

TINY = [
    *["export.weights=magicpoint-lite", "export.adaptation.homographies=3", "export.resize=96", "export.backend=torch"],
    *["training.model.encoder=lite", "training.model.head_channels=128", "training.data.height=48"],
    *["training.data.width=64", "training.data.workers=0", "training.data.holdout=0.3", "training.train.minutes=null"],
    *["training.train.batch_size=2", "training.train.precision=fp32", "training.validation.images=4"],
    *[
        "training.validation.final_images=9",
        "training.train.log_every=1",
        "training.train.report=false",
        "training.train.steps=2",
    ],
]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for name, rgb in sample_photographs()[:5]:
        save_image(folder / f"{name}.png", cv2.resize(rgb, (128, 96), interpolation=cv2.INTER_AREA))
    return folder


def config(photographs: Path, run: Path, *more: str) -> AdaptConfig:
    return load_config(AdaptConfig, None, [*TINY, f"images={photographs}", f"run={run}", *more])


def test_two_rounds_build_on_each_other(photographs: Path, tmp_path: Path) -> None:
    settings = config(photographs, tmp_path / "run", "rounds=2")
    assert adapt(settings) is None
    run = tmp_path / "run"
    with LabelFile(run / "labels1.h5") as first, LabelFile(run / "labels2.h5") as second:
        assert len(first) == len(second) == 5
        assert first.attributes["model"] != second.attributes["model"]
    assert "weights: magicpoint-lite\n" in (run / "round1" / "config.yaml").read_text()
    assert f"weights: {run / 'round1' / 'weights.safetensors'}\n" in (run / "round2" / "config.yaml").read_text()
    rows = json.loads((run / "rounds.json").read_text())
    assert [row["round"] for row in rows] == [1, 2]
    assert all(0 <= row["precision"]["photographs"] <= 1 for row in rows)
    assert (run / "rounds.md").read_text().count("\n|") >= 4
    # Two steps from good weights do not ruin the network: it still finds the corners of clean shapes.
    assert rows[0]["precision"]["clean"] > 0.5

    # Everything is done, so a resume changes nothing.
    before = {path: path.stat().st_mtime_ns for path in run.glob("labels*.h5")}
    assert adapt(settings, resume=True) is None
    assert {path: path.stat().st_mtime_ns for path in run.glob("labels*.h5")} == before
    with pytest.raises(UserError, match="the folder is not empty"):
        adapt(settings)
    with pytest.raises(UserError, match="made with other settings"):
        adapt(config(photographs, run, "rounds=3"), resume=True)


def test_from_nothing(photographs: Path, tmp_path: Path) -> None:
    more = ["from_previous=false", "training.model.head_channels=16"]
    assert adapt(config(photographs, tmp_path / "run", *more)) is None
    text = (tmp_path / "run" / "round1" / "metrics.jsonl").read_text()
    initial = next(json.loads(line) for line in text.splitlines() if "initial_loss" in line)
    assert initial["loss"] == pytest.approx(initial["expected"], rel=0.05)
    assert load_weights(tmp_path / "run" / "round1")[1]["head_channels"] == 16


def test_bad_input(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="images: not set"):
        adapt(load_config(AdaptConfig, None, [f"run={tmp_path / 'run'}"]))
    with pytest.raises(UserError, match=r"training\.model\.head_channels: found 16, but magicpoint-lite has 128"):
        adapt(config(photographs, tmp_path / "run", "training.model.head_channels=16"))
    with pytest.raises(UserError, match=r"training\.data\.kind"):
        config(photographs, tmp_path, "training.weights=magicpoint")
    with pytest.raises(UserError, match="expected at least 2"):
        config(photographs, tmp_path, "export.adaptation.homographies=1")
    (tmp_path / "empty").mkdir()
    settings = config(tmp_path / "empty", tmp_path / "other")
    with pytest.raises(UserError, match="no image"):
        adapt(settings)
