"""Fine-tuning as a user runs it, in miniature: labels, training, the table of before and after; what is refused."""

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from superpoint.config import FinetuneConfig, ModelConfig, load_config
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.feature_writer import save_features
from superpoint.data.pairs import ViewPair
from superpoint.engine import RunFolder
from superpoint.errors import UserError
from superpoint.evaluation.pair_metrics import PairRecord
from superpoint.features import Features
from superpoint.models import build_model
from superpoint.models.weights import load_weights, save_weights
from superpoint.training import finetune as stage
from superpoint.training.finetune import MIN_IMAGES, check_labels, compare, finetune, start_model, verdict
from superpoint.training.magicpoint import load_start
from superpoint.training.pair_validation import measure_pairs
from tests.conftest import TINY_DATA, CommandLine, under

SETTINGS = [
    "labelling.sharpen=true", "labelling.corners=20",
    "labelling.resize=64", "labelling.backend=torch", "labelling.precision=fp32", "labelling.adaptation.homographies=2",
    "labelling.decode.threshold=0.001", "labelling.decode.max_keypoints=40", *under("training", TINY_DATA),
    "training.train.minutes=null", "training.train.steps=2", "training.data.label_threshold=0",
    "training.train.batch_size=2", "training.train.log_every=1", "training.train.report=false",
    "training.validation.images=2", "training.validation.final_images=9", "training.validation.pairs=2",
    "training.validation.final_pairs=2", "training.validation.height=64", "training.validation.width=80",
]  # fmt: skip


def weights(path: Path, dim: int, encoder: str = "lite", **more: Any) -> Path:
    """`more` goes to the configuration in the file; what is not in there has its default, as in older files."""
    config = {"encoder": encoder, "head_channels": 16, "descriptor_dim": dim, **more}
    save_weights(path, build_model(ModelConfig(**config), 3, pretrained=False), config)
    return path


def test_before_and_after_on_photographs_that_were_held_out(
    photographs: Path, tmp_path: Path, cli: CommandLine
) -> None:
    folder, start = tmp_path / "run", weights(tmp_path / "start.safetensors", 16, fine=4)
    command = [f"images={photographs}", f"weights={start}", f"run={folder}", *SETTINGS]
    assert "2 generated pairs of held-out photographs" in cli.succeeds("finetune", *command)
    result = json.loads((folder / "finetune.json").read_text())
    assert list(result) == ["before", "after", "sift", "change", "held_out"]
    assert all(set(stage.COLUMNS) == set(result[name]) for name in ("before", "after", "sift"))
    # One photograph: whatever has changed, chance does as much.
    assert {each["verdict"] for each in result["change"].values()} == {"no measurable difference"}
    assert "| before |" in (folder / "finetune.md").read_text()
    for name in (
        "finetune.yaml", "labels/labels.h5", "matches_before.png", "matches_after.png", "report.html",
        "training/weights.safetensors",
    ):  # fmt: skip
        assert (folder / name).stat().st_size > 0, name
    made = RunFolder(folder / "training")
    assert f"weights: {start}" in made.config_file.read_text()
    assert load_weights(folder / "training/weights.safetensors")[1]["fine"] == 4
    assert "Too few photographs held out to judge (1)" in (folder / "finetune.md").read_text()
    assert len(made.history().events("train")) == 2

    # What is done is kept; another setting would be another run.
    kept = [folder / name for name in ("labels/labels.h5", "training/weights.safetensors", "before.json")]
    times = [path.stat().st_mtime_ns for path in kept]
    cli.succeeds("finetune", *command, "--resume")
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert "--resume" in cli.fails("finetune", *command)
    error = cli.fails("finetune", *command, "--resume", "training.optimizer.lr=1")
    assert "training.optimizer.lr: found 1.0, but the run was begun with 0.0002" in error


def test_it_goes_on_where_it_was_stopped(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = weights(tmp_path / "start.safetensors", 16)
    keypoint = Features(np.array([[40.0, 30.0]], np.float32))
    save_features(tmp_path / "labels.h5", {path.name: keypoint for path in photographs.iterdir()}, {})
    given = [f"images={photographs}", f"weights={start}", f"labels={tmp_path / 'labels.h5'}", f"run={tmp_path / 'run'}"]
    config = load_config(FinetuneConfig, None, [*SETTINGS, *given])
    measured: list[str | None] = []
    trained: list[int | None] = [signal.SIGTERM, None]

    def measure(training: object, pairs: list[ViewPair], source: str | None = None, *_: object) -> list[PairRecord]:
        measured.append(source)
        nothing = Features(np.zeros((0, 2)), None, np.zeros((0, 2)), (80, 64))
        return measure_pairs(pairs, [(nothing, nothing)] * len(pairs), EvaluatePairsConfig())

    monkeypatch.setattr(stage, "measure_generated", measure)
    monkeypatch.setattr(stage, "train_superpoint", lambda *_, **__: SimpleNamespace(signal=trained.pop(0)))
    assert finetune(config) == signal.SIGTERM
    assert finetune(config, resume=True) is None
    assert measured == [str(start), str(tmp_path / "run/training"), None]
    assert not (tmp_path / "run/labels").exists()  # they were given
    assert "Too few photographs held out to judge (1)" in capsys.readouterr().out


def test_what_it_starts_from(tmp_path: Path) -> None:
    model, described = start_model(str(weights(tmp_path / "a.safetensors", 16)))
    assert (model.descriptor_dim, model.fine, described) == (16, 0, True)
    model, described = start_model(str(weights(tmp_path / "b.safetensors", 0)))
    assert (model.descriptor_dim, model.head_channels, described) == (64, 16, False)


@pytest.mark.parametrize(
    ("encoder", "given", "expected"),
    [
        *(("compact", {}, 16), ("lite", {}, 8), ("lite", {"fine": 4}, 4)),
        *(("vgg", {}, 16), ("vgg-original", {}, 0), ("resnet18", {}, 0)),
    ],
)
def test_a_magicpoint_gets_a_fine_branch(encoder: str, given: dict[str, int], expected: int, tmp_path: Path) -> None:
    model, _ = start_model(str(weights(tmp_path / "w.safetensors", 0, encoder, **given)))
    assert model.fine == expected
    text = load_start(build_model(model), str(tmp_path / "w.safetensors"))
    assert ("detector.fine." in text) == (expected > 0 and not given)


def test_the_file_of_an_encoder_may_be_gone(tmp_path: Path) -> None:
    start = weights(tmp_path / "w.safetensors", 16, "resnet18", encoder_weights=str(tmp_path / "moved.pth"))
    assert load_weights(start)[1]["encoder_weights"].endswith("moved.pth")
    model, _ = start_model(str(start))
    assert (model.encoder, model.encoder_weights) == ("resnet18", None)


def test_columns_are_compared_over_the_photographs() -> None:
    rng = np.random.default_rng(0)
    before = {key: list(rng.uniform(0.3, 0.6, 20)) for key in stage.COMPARED}
    after = {key: list(np.add(each, rng.normal(0, 0.01, 20))) for key, each in before.items()}
    after["mma@1"] = list(np.add(before["mma@1"], rng.normal(0.02, 0.01, 20)))
    after["localisation"] = [None, *np.add(before["localisation"], 0.1)[1:]]
    found = compare(before, after)
    assert found["mma@1"]["verdict"] == "better"
    assert found["localisation"]["verdict"] == "worse"  # an error that grows
    assert found["localisation"]["difference"] == pytest.approx(0.1)
    low, high = found["mma@1"]["interval"]
    assert 0.01 < low < found["mma@1"]["difference"] < high < 0.03
    rest = {each["verdict"] for key, each in found.items() if key not in ("mma@1", "localisation")}
    assert rest == {"no measurable difference"}
    # .944 -> .933 because three photographs of forty fail
    auc = [*[0.95] * 37, 0.0, 0.9, 1.0]
    same = compare({"auc@5": [0.95] * 40}, {"auc@5": auc})["auc@5"]
    assert same["verdict"] == "no measurable difference"


def test_verdict() -> None:
    def told(before: float | None, photographs: int = 4, **change: str) -> str:
        figures = {"before": {} if before is None else {"auc@5": before}, "after": {"auc@5": 0.4}}
        verdicts = {key: {"verdict": each} for key, each in change.items()}
        return verdict({**figures, "change": verdicts, "held_out": photographs})

    assert "Better" in told(0.5, mma="better", auc="no measurable difference")
    assert "WORSE" in told(0.5, auc="worse")
    assert "better: mma; worse: auc; no measurable" in told(0.5, auc="worse", mma="better")
    assert "No measurable difference" in told(0.5, auc="no measurable difference")
    assert "no descriptors before; now AUC@5 of homographies is 0.400" in told(None)
    few = told(0.5, 3, mma="better")
    assert "judge (3)" in few
    assert "Better" not in few


def test_labels_of_other_photographs_are_refused(photographs: Path, tmp_path: Path) -> None:
    save_features(tmp_path / "labels.h5", {"other.png": Features(np.zeros((1, 2), np.float32))}, {})
    with pytest.raises(UserError, match=f"labels.h5: found labels of 0 .*, expected at least {MIN_IMAGES}"):
        check_labels(tmp_path / "labels.h5", photographs)
