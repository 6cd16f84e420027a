"""Rounds of labelling and training, restartable, on a handful of small photographs."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from superpoint.config import AdaptConfig, ModelConfig, load_config
from superpoint.data.feature_file import FeatureFile
from superpoint.errors import UserError
from superpoint.models import build_model
from superpoint.models.weights import load_weights, save_weights
from superpoint.training.adapt import adapt, collapse, label_agreement
from tests.conftest import TINY_TRAINING, under, write_photographs

SETTINGS = [
    "labelling.weights=magicpoint-lite", "labelling.adaptation.homographies=3", "labelling.resize=96",
    "labelling.backend=torch",
    *under("training", TINY_TRAINING), "training.model.head_channels=128", "training.data.holdout=0.3",
    "training.train.precision=fp32", "training.validation.images=4", "training.train.log_every=1",
    "training.train.report=false", "training.train.steps=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("photographs"), 5, (128, 96))


def config(photographs: Path, run: Path, *more: str) -> AdaptConfig:
    return load_config(AdaptConfig, None, [*SETTINGS, f"images={photographs}", f"run={run}", *more])


def test_two_rounds_build_on_each_other(photographs: Path, tmp_path: Path) -> None:
    settings = config(photographs, tmp_path / "run", "rounds=2")
    assert adapt(settings) is None
    run = tmp_path / "run"
    with FeatureFile(run / "labels1.h5") as first, FeatureFile(run / "labels2.h5") as second:
        assert len(first) == len(second) == 5
        assert first.attributes["model"] != second.attributes["model"]
    assert "weights: magicpoint-lite\n" in (run / "round1" / "config.yaml").read_text()
    assert f"weights: {run / 'round1' / 'weights.safetensors'}\n" in (run / "round2" / "config.yaml").read_text()
    rows = json.loads((run / "rounds.json").read_text())
    assert [row["round"] for row in rows] == [1, 2]
    assert all(0 <= row["precision"]["photographs"] <= 1 for row in rows)
    assert (run / "rounds.md").read_text().count("\n|") >= 4
    assert rows[0]["agreement"] is None
    assert 0.3 < rows[1]["agreement"] <= 1
    assert label_agreement(run / "labels1.h5", run / "labels1.h5") == 1
    # Two steps from good weights do not ruin the network: it still finds the corners of clean shapes.
    assert rows[0]["precision"]["clean"] > 0.5

    # Everything is done, so a resume changes nothing.
    before = {path: path.stat().st_mtime_ns for path in run.glob("labels*.h5")}
    assert adapt(settings, resume=True) is None
    assert {path: path.stat().st_mtime_ns for path in run.glob("labels*.h5")} == before
    with pytest.raises(UserError, match="the folder is not empty"):
        adapt(settings)
    with pytest.raises(UserError, match=r"labelling\.resize: found 80, but the run was begun with 96; set it back"):
        adapt(config(photographs, run, "rounds=2", "labelling.resize=80"), resume=True)
    with pytest.raises(UserError, match=r"rounds: found 1, but .* with 2; expected as many, or more"):
        adapt(config(photographs, run, "rounds=1"), resume=True)


@pytest.mark.slow
def test_more_rounds_can_be_added(photographs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert adapt(config(photographs, run)) is None
    first = (run / "labels1.h5").stat().st_mtime_ns
    assert adapt(config(photographs, run, "rounds=2", "labelling.readers=1"), resume=True) is None
    assert (run / "labels1.h5").stat().st_mtime_ns == first
    assert [row["round"] for row in json.loads((run / "rounds.json").read_text())] == [1, 2]
    assert "rounds: 2\n" in (run / "adapt.yaml").read_text()


def test_alarm_if_the_labels_become_few() -> None:
    assert collapse(300, 150) is None
    assert collapse(0, 0) is None
    assert "has 149 keypoints, 300 in the round before: the labels collapse" in str(collapse(300, 149))


def test_from_nothing(photographs: Path, tmp_path: Path) -> None:
    more = ["from_previous=false", "training.model.head_channels=16"]
    assert adapt(config(photographs, tmp_path / "run", *more)) is None
    text = (tmp_path / "run" / "round1" / "metrics.jsonl").read_text()
    initial = next(json.loads(line) for line in text.splitlines() if "initial_loss" in line)
    assert initial["loss"] == pytest.approx(initial["expected"], rel=0.05)
    assert load_weights(tmp_path / "run" / "round1")[1]["head_channels"] == 16


def test_a_start_without_fine_branch_gets_one(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superpoint.training.adapt.export_detections", lambda *_, **__: SimpleNamespace(signal=15))
    assert adapt(config(photographs, tmp_path / "run", "training.model.fine=8")) == 15  # labelling was begun


def test_bad_input(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training\.model\.head_channels: found 16, but magicpoint-lite has 128"):
        adapt(config(photographs, tmp_path / "run", "training.model.head_channels=16"))
    fine = {"encoder": "lite", "head_channels": 128, "fine": 8}
    save_weights(tmp_path / "fine.safetensors", build_model(ModelConfig(**fine)), fine)
    for width in (0, 4):  # without, and narrower
        words = rf"training\.model\.fine: found {width}, but .*fine\.safetensors has 8; set it alike"
        more = [f"labelling.weights={tmp_path / 'fine.safetensors'}", f"training.model.fine={width}"]
        with pytest.raises(UserError, match=words) as caught:
            adapt(config(photographs, tmp_path / "run", *more))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"nowhere: no such file, expected weights"):
        adapt(config(photographs, tmp_path / "run", "labelling.weights=nowhere"))
    assert not (tmp_path / "run").exists()  # what failed before its first round leaves nothing behind


def test_weights_with_descriptors(photographs: Path, tmp_path: Path) -> None:
    model = ModelConfig(encoder="lite", head_channels=128, descriptor_dim=8)
    save_weights(tmp_path / "both.safetensors", build_model(model), asdict(model))
    more = [f"labelling.weights={tmp_path / 'both.safetensors'}"]
    with pytest.raises(UserError, match=r"both\.safetensors has descriptors of 8 dimensions, .* from_previous=false"):
        adapt(config(photographs, tmp_path / "run", *more))
