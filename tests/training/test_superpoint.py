"""Joint training as a user runs it, in miniature: weights of a detector, run folder, doctor, resume, overfit."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from superpoint.commands.conclusion import conclude
from superpoint.config import ModelConfig, SuperPointConfig, load_config, load_run_config
from superpoint.diagnostics.reading import read_run
from superpoint.engine import RunFolder
from superpoint.errors import UserError
from superpoint.models import build_model, load_network
from superpoint.models.weights import load_weights, save_weights
from superpoint.training.magicpoint import load_start
from superpoint.training.superpoint import train_superpoint
from tests.conftest import TINY_PAIRS, TINY_TRAINING, CommandLine

SETTINGS = [*TINY_TRAINING, *TINY_PAIRS]
DETECTOR = {"encoder": "lite", "head_channels": 16, "descriptor_dim": 0, "init": "kaiming"}


def tiny(run: Path, *overrides: str) -> SuperPointConfig:
    return load_config(SuperPointConfig, None, [*SETTINGS, f"run={run}", *overrides])


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a MagicPoint."""
    path = tmp_path_factory.mktemp("detector") / "magicpoint.safetensors"
    save_weights(path, build_model(ModelConfig(**DETECTOR), seed=5), DETECTOR)
    return path


@pytest.fixture(scope="module")
def trained(detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("stage") / "run"
    config = tiny(run, f"weights={detector}", "train.steps=4")
    result = train_superpoint(config)
    assert result.step == 4
    conclude(config, result)
    return run


def test_run_folder_holds_everything(trained: Path) -> None:
    for name in (
        "config.yaml", "environment.json", "metrics.jsonl", "checkpoints/last.ckpt", "checkpoints/best.ckpt",
        "weights.safetensors", "evaluation/generated_pairs.json", "evaluation/generated_pairs.md",
        "evaluation/matches.png", "evaluation/synthetic.json", "doctor/findings.json", "report.html",
    ):  # fmt: skip
        assert (trained / name).stat().st_size > 0, name
    history = RunFolder(trained).history()
    train = history.events("train")[0]
    assert {"loss", "detector_loss", "descriptor_loss", "positive_similarity", "negative_similarity"} <= set(train)
    assert {"matching_accuracy", "collapse", "recall"} <= set(train)
    parts = ("detector_loss", "descriptor_loss", "position_loss")
    assert train["loss"] == pytest.approx(sum(train[part] for part in parts), rel=1e-5)
    assert "descriptor.descriptor" in history.events("probe")[0]["layers"]
    assert all(line["selected_by"] == "pairs/auc@5" in line for line in history.events("validate"))
    results = json.loads((trained / "evaluation/generated_pairs.json").read_text())
    assert set(results) == {"network", "sift"}


def test_exported_weights_describe(trained: Path) -> None:
    model = load_network(trained / "weights.safetensors")
    with torch.no_grad():
        output = model(torch.rand(1, 1, 48, 64))
    assert output["descriptors"].shape == (1, 16, 6, 8)
    assert load_weights(trained / "weights.safetensors")[2]["stage"] == "superpoint"


def test_doctor_and_report_recognise_the_run(trained: Path) -> None:
    reading = read_run(trained)
    assert isinstance(reading.case.config, SuperPointConfig)
    content = json.loads((trained / "doctor/findings.json").read_text())
    found = {finding["check"]: finding["status"] for finding in content["findings"]}
    assert found["initial_loss"] == "PASS"  # ln 65 says nothing about weights trained before and a joint loss
    assert "FAIL" not in set(found.values())
    assert "descriptor.name" in (trained / "report.html").read_text()


def test_a_finished_run_resumes_to_nothing(
    trained: Path, detector: Path, cli: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "weights.safetensors").read_bytes()
    config = tiny(trained, f"weights={detector}", "train.steps=4")
    result = train_superpoint(config, resume=True)
    conclude(config, result)
    assert result.step == 4
    assert (trained / "weights.safetensors").read_bytes() == before
    assert "generated_pairs.md" in " ".join(capsys.readouterr().out.split())
    error = cli.fails("train-superpoint", *SETTINGS, f"run={trained}", f"weights={detector}", "train.steps=4")
    assert "--resume" in error


def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_bits(detector: Path, tmp_path: Path) -> None:
    """The balance of the losses does not depend on what was before."""
    more = [f"weights={detector}", "train.report=false", "descriptor.balance=auto", "train.validate_every=100"]
    more += ["validation.pairs=2", "validation.images=2", "schedule.name=constant"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_superpoint(tiny(whole, *more, "train.steps=3"))
    train_superpoint(tiny(parts, *more, "train.steps=2"))
    train_superpoint(tiny(parts, *more, "train.steps=3"), resume=True)
    first, second = (torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (whole, parts))
    assert first["step"] == second["step"] == 3
    assert all(torch.equal(first["model"][name], second["model"][name]) for name in first["model"])


def test_which_weights_are_loaded_and_which_are_new(detector: Path, tmp_path: Path) -> None:
    model = build_model(tiny(tmp_path, "train.steps=1").model)
    drawn = model.get_parameter("descriptor.descriptor.weight").detach().clone()
    text = load_start(model, str(detector))
    assert "encoder (48), detector (8)" in text or "detector (8), encoder (48)" in text
    assert "new: descriptor.descriptor.bias, descriptor.descriptor.weight" in text
    state = load_weights(detector)[0]
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())
    assert torch.equal(model.get_parameter("descriptor.descriptor.weight"), drawn)

    path = tmp_path / "superpoint.safetensors"
    save_weights(path, model, {**DETECTOR, "descriptor_dim": 16})
    fresh = build_model(tiny(tmp_path, "train.steps=1").model, seed=8)
    assert "nothing is new" in load_start(fresh, str(path))
    assert torch.equal(fresh.get_parameter("descriptor.descriptor.weight"), drawn)
    wider = build_model(tiny(tmp_path, "train.steps=1", "model.descriptor_dim=32").model)
    with pytest.raises(UserError, match=r"superpoint\.safetensors: another architecture: found 'descriptor"):
        load_start(wider, str(path))


@pytest.mark.parametrize("encoder", ["vgg", "compact"])
@pytest.mark.parametrize("centred", [True, False])
def test_a_start_with_the_other_centring_and_without_the_fine_branch(
    encoder: str, centred: bool, tmp_path: Path
) -> None:
    before, after = {"encoder": encoder, "fine": 4, "centring": centred}, {"encoder": encoder, "centring": not centred}
    source, model = build_model(ModelConfig(**before)), build_model(ModelConfig(**after), seed=1)
    images = torch.rand((2, 1, 32, 40), generator=torch.Generator().manual_seed(0))
    source.train()(images)  # norms with statistics
    save_weights(tmp_path / "w.safetensors", source, before)
    text = load_start(model, str(tmp_path / "w.safetensors"))
    assert "nothing is new; dropped: the fine branch" in text
    assert text.endswith("the first layer adapted to model.centring")
    outputs = []
    for network in (source, model):
        first = next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
        first.register_forward_hook(lambda *call: outputs.append(call[2].detach().clone()))
        network.eval()(images)
    difference = (outputs[0] - outputs[1]).abs()
    assert difference[..., 1:-1, 1:-1].max() < 1e-4
    assert difference.max() > 0.1  # at the border zeros stand for another grey level
    assert torch.equal(source.detector.logits.weight, model.detector.logits.weight)


def test_the_command_prints_its_configuration(cli: CommandLine, project: Path, tmp_path: Path) -> None:
    config = project / "configs/superpoint/lite.yaml"
    printed = cli.succeeds("train-superpoint", "--config", config, "--print-config", "descriptor.name=dense_hinge")
    (tmp_path / "config.yaml").write_text(printed)
    loaded = load_run_config(tmp_path / "config.yaml")
    assert isinstance(loaded, SuperPointConfig)
    assert (loaded.descriptor.name, loaded.model.descriptor_dim) == ("dense_hinge", 64)
    assert loaded.weights == "magicpoint-compact"


def overfit(run: Path, *overrides: str) -> dict[str, float]:
    """Last validation of a run that learns one pair by heart."""
    settings = [
        "weights=null", "data.overfit=1", "train.ema=0", "train.report=false", "schedule.name=constant",
        "train.batch_size=1", "optimizer.lr=0.003",
    ]  # fmt: skip
    return train_superpoint(tiny(run, *settings, *overrides)).metrics


def test_one_pair_is_learnt_by_heart(tmp_path: Path) -> None:
    metrics = overfit(tmp_path / "run", "train.steps=60", "train.validate_every=60")
    assert metrics["matching_accuracy"] == 1.0
    assert metrics["positive_similarity"] > metrics["negative_similarity"] + 0.5
    assert metrics["detector_loss"] < 1.5
    assert metrics["recall"] > 0.3
    assert not (tmp_path / "run/evaluation").exists()  # there is nothing to generalise to


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), [("dual_softmax", 1.0), ("dense_hinge", 0.8)])
def test_one_pair_is_learnt_by_heart_with_every_loss(name: str, accuracy: float, tmp_path: Path) -> None:
    """The dense hinge draws cells up to 8 px apart together, so some are taken for the next one."""
    balance = "auto" if name == "dense_hinge" else "fixed"
    metrics = overfit(
        tmp_path / "run", f"descriptor.name={name}", f"descriptor.balance={balance}", "train.steps=250",
        "train.validate_every=250", "data.height=96", "data.width=96", "model.descriptor_dim=32",
    )  # fmt: skip
    assert metrics["matching_accuracy"] >= accuracy
    assert metrics["recall"] > 0.95
    assert metrics["detector_loss"] < 0.5
