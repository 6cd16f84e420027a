"""The stage as a user runs it, in miniature: train, evaluate, detect, resume, overfit."""

import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from superpoint.commands.conclusion import conclude
from superpoint.config import MagicPointConfig, ModelConfig, SuperPointConfig, ValidationConfig, load_config
from superpoint.engine import RunFolder
from superpoint.errors import UserError
from superpoint.losses import INITIAL_DETECTOR_LOSS
from superpoint.models import build_model, load_network
from superpoint.models.weights import load_weights, save_weights
from superpoint.training.detector_validation import DetectorValidation, detector_objective, labelled_batch
from superpoint.training.magicpoint import train_magicpoint
from superpoint.training.superpoint import train_superpoint
from tests.conftest import TINY_TRAINING, CommandLine


def tiny(run: Path, *overrides: str) -> MagicPointConfig:
    return load_config(MagicPointConfig, None, [*TINY_TRAINING, f"run={run}", *overrides])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("stage") / "run"
    config = tiny(run, "train.steps=4")
    result = train_magicpoint(config)
    assert result.step == 4
    conclude(config, result)
    return run


def test_run_folder_holds_everything(trained: Path) -> None:
    for name in (
        "config.yaml", "environment.json", "metrics.jsonl", "checkpoints/last.ckpt", "checkpoints/best.ckpt",
        "weights.safetensors", "evaluation/synthetic.json", "evaluation/synthetic.md",
        "evaluation/precision_recall_clean.png", "evaluation/precision_recall_noisy.png", "doctor/findings.json",
        "report.html",
    ):  # fmt: skip
        assert (trained / name).stat().st_size > 0, name
    assert load_config(MagicPointConfig, trained / "config.yaml").train.steps == 4
    (first,) = RunFolder(trained).history().events("initial_loss")
    assert first["loss"] == pytest.approx(first["expected"], rel=0.1)


@pytest.mark.parametrize(
    ("kind", "train"), [(MagicPointConfig, train_magicpoint), (SuperPointConfig, train_superpoint)]
)
def test_the_file_of_a_replaced_encoder_may_be_gone(
    kind: type[MagicPointConfig], train: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{train.__module__}.fit", Mock(side_effect=StopIteration))  # once the model is built
    network = {"encoder": "shufflenet_v2_x0_5", "head_channels": 16}
    start, run = tmp_path / "start.safetensors", tmp_path / "run"
    save_weights(start, build_model(ModelConfig(**network)), network)
    settings = [*TINY_TRAINING, "train.steps=1", "model.encoder=shufflenet_v2_x0_5", "validation.images=2"]
    settings += [f"model.encoder_weights={tmp_path / 'gone.pth'}"]

    def go(run: Path, weights: object, *, resume: bool = False) -> None:
        train(load_config(kind, None, [*settings, f"run={run}", f"weights={weights}"]), resume=resume)

    for resume in (False, True):
        with pytest.raises(UserError, match=r"gone\.pth: no such file"):
            go(run, "null", resume=resume)
    with pytest.raises(StopIteration):
        go(run, start)
    resumed = tmp_path / "resumed"
    (resumed / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "checkpoints/last.ckpt"):
        (resumed / name).touch()
    with pytest.raises(StopIteration):
        go(resumed, "null", resume=True)


def test_evaluation_compares_with_the_classical_detectors(trained: Path) -> None:
    results = json.loads((trained / "evaluation/synthetic.json").read_text())
    assert {(result["detector"], result["variant"]) for result in results} == {
        (name, variant) for name in ("network", "fast", "harris", "shi") for variant in ("clean", "noisy")
    }
    assert all(result["protocol"]["name"] == "synthetic-ap" and result["images"] == 9 for result in results)


def test_exported_weights_are_the_averaged_ones_of_the_best_checkpoint(trained: Path) -> None:
    state, model_config, metadata = load_weights(trained / "weights.safetensors")
    best = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)
    assert all(torch.equal(state[name], best["ema"][name]) for name in best["ema"])
    assert (model_config["encoder"], metadata["stage"]) == ("lite", "magicpoint")
    assert not load_network(trained / "weights.safetensors").training


def test_a_finished_run_resumes_to_nothing_and_is_never_overwritten(
    trained: Path, cli: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "weights.safetensors").read_bytes()
    config = tiny(trained, "train.steps=4")
    result = train_magicpoint(config, resume=True)
    conclude(config, result)
    assert result.step == 4
    assert (trained / "weights.safetensors").read_bytes() == before
    assert "evaluated before" in " ".join(capsys.readouterr().out.split())
    arguments = ["train-magicpoint", *TINY_TRAINING, f"run={trained}", "train.steps=4"]
    assert "--resume" in cli.fails(*arguments)


def test_detections_are_drawn_on_photographs(trained: Path, cli: CommandLine) -> None:
    output = cli.succeeds("detect-samples", "--model", trained, "--threshold", 0.02, "--max-keypoints", 50)
    pictures = {path.name for path in (trained / "detections").glob("*.png")}
    assert len(pictures) > 8
    assert {"all.png", "camera.png"} <= pictures
    assert "camera" in output


def test_overfitting_one_image_drives_the_loss_down(tmp_path: Path) -> None:
    more = ["data.overfit=1", "train.steps=120", "optimizer.lr=0.01", "train.ema=0.0", "train.report=false"]
    config = tiny(tmp_path / "run", *more)
    train_magicpoint(config)
    assert not (tmp_path / "run/evaluation").exists()  # there is nothing to generalise to
    losses = [event["loss"] for event in RunFolder(config.run).history().events("train")]
    assert losses[-1] < 0.15 * losses[0]


def test_validation_images_do_not_depend_on_what_is_trained() -> None:
    one = MagicPointConfig(validation=ValidationConfig(images=18))
    changed = ["validation.images=18", "data.synthetic.primitives.lines=0", "seed=9", "loss.positive_weight=2"]
    other = load_config(MagicPointConfig, None, changed)
    for variant in ("clean", "noisy"):
        for a, b in zip(DetectorValidation(one).sets[variant], DetectorValidation(other).sets[variant], strict=True):
            assert a[0] == b[0]
            np.testing.assert_array_equal(a[1], b[1])


def test_defaults_are_the_default_recipe(project: Path) -> None:
    assert load_config(MagicPointConfig, project / "configs/magicpoint/default.yaml") == MagicPointConfig()


def test_validation_loss_is_the_objective_on_the_validation_scenes() -> None:
    """45x70 is padded to 48x72: the padding does not count."""
    overrides = ["validation.images=18", "data.height=45", "data.width=70", "model.encoder=lite"]
    config = load_config(MagicPointConfig, None, overrides)
    validate, model = DetectorValidation(config), build_model(config.model).eval()
    detector_objective(config).initialise(model.detector)
    with torch.no_grad():
        metrics = validate(model)
        scenes = [(image, points) for samples in validate.sets.values() for _, image, points in samples]
        batch = labelled_batch(scenes, model)
        expected = detector_objective(config)(model, batch)["loss"]
    assert metrics["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert metrics["loss"] == pytest.approx(INITIAL_DETECTOR_LOSS, rel=0.1)
    assert batch["image"].shape == (18, 1, 48, 72)
    assert batch["valid"].shape == (18, 6, 9)
    assert batch["valid"][0].sum() == 5 * 8
    for (_, points), target in zip(scenes, batch["target"], strict=True):
        assert (target != 64).any() == bool(len(points))
