"""Encoders in training: the stage, weights kept and read again, frozen stages, rates that fall with the depth."""

from pathlib import Path

import pytest
import torch

from superpoint.config import MagicPointConfig, ModelConfig, OptimizerConfig, load_config
from superpoint.engine.optimizers import make_optimizer, rate_shares
from superpoint.errors import UserError
from superpoint.models import build_model, load_network
from superpoint.models.weights import load_weights
from superpoint.training.magicpoint import train_magicpoint
from tests.conftest import TINY_TRAINING

SETTINGS = [*TINY_TRAINING, "train.log_every=1", "train.steps=2", "train.probe_every=1", "train.report=false"]


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "vgg16_bn"])
def test_two_steps_of_the_stage(tmp_path: Path, encoder: str) -> None:
    run = tmp_path / "run"
    config = load_config(MagicPointConfig, None, [*SETTINGS, f"model.encoder={encoder}", f"run={run}"])
    assert train_magicpoint(config).step == 2
    network = load_network(run / "weights.safetensors")
    assert network.encoder.name == encoder
    state, model_config, _ = load_weights(run)
    assert model_config["encoder"] == encoder
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in state.items())
    with torch.no_grad():
        assert network(torch.rand(1, 1, 48, 64))["logits"].shape == (1, 65, 6, 8)


def steps(config: ModelConfig, optimizer: OptimizerConfig, count: int = 2) -> tuple[dict[str, float], dict[str, float]]:
    """How far the parameters and the buffers move, by the first parts of their names."""
    model = build_model(config)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optim = make_optimizer(model, optimizer)
    model.eval().train()
    for seed in range(count):
        for group in optim.param_groups:
            group["lr"] = optimizer.lr
        image = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
        model(image)["logits"].square().mean().backward()
        optim.step()
        optim.zero_grad()
        assert {group["lr"] for group in optim.param_groups} == {optimizer.lr}  # as set, for whoever reads it
    parameters = {name for name, _ in model.named_parameters()}
    moved: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            part = ".".join(name.split(".")[:3]) if name.startswith("encoder") else "heads"
            target = moved[name not in parameters]
            change = float((tensor - before[name]).abs().max())
            target[part] = max(target.get(part, 0.0), change)
    return moved


def test_frozen_stages_stay_as_they_are() -> None:
    config = ModelConfig(encoder="resnet18", head_channels=16, freeze_encoder=2)
    weights, statistics = steps(config, OptimizerConfig(lr=1e-2))
    for moved in (weights, statistics):
        assert moved["encoder.stages.0"] == moved["encoder.stages.1"] == 0
        assert min(moved["encoder.stages.2"], moved["encoder.stages.3"], moved["heads"]) > 0


def test_whole_encoders_freeze_and_too_many_stages_are_one_line() -> None:
    for encoder in ("lite", "compact", "shufflenet_v2_x0_5"):
        weights, statistics = steps(
            ModelConfig(encoder=encoder, head_channels=16, freeze_encoder=-1), OptimizerConfig(), count=1
        )
        assert {part for part, change in {**weights, **statistics}.items() if change > 0} == {"heads"}
    with pytest.raises(UserError, match=r"model\.freeze_encoder: found 5, expected a finite number >= -1 and <= 4"):
        build_model(ModelConfig(encoder="lite", freeze_encoder=5))
    with pytest.raises(UserError, match=r"model\.freeze_encoder: found 4, expected a finite number >= -1 and <= 3"):
        build_model(ModelConfig(encoder="compact", freeze_encoder=4))


def test_rates_fall_towards_the_image() -> None:
    shares = rate_shares(build_model(ModelConfig(encoder="resnet18", head_channels=16)), 0.5)
    assert shares["detector.logits.weight"] == 1
    assert shares["encoder.stages.3.layer3.0.conv1.weight"] == 0.5
    assert shares["encoder.stages.0.conv1.weight"] == 0.5**4
    # The first update of Adam is the learning rate in each element, whatever the gradient.
    for encoder, count in (("lite", 4), ("compact", 3)):
        config = ModelConfig(encoder=encoder, head_channels=16)
        weights, _ = steps(config, OptimizerConfig("adam", lr=1e-3, weight_decay=0, layer_decay=0.5), count=1)
        assert weights["heads"] == pytest.approx(1e-3, rel=0.01)
        for stage in range(count):
            assert weights[f"encoder.stages.{stage}"] == pytest.approx(1e-3 * 0.5 ** (count - stage), rel=0.01)


def test_without_decay_the_groups_are_as_ever() -> None:
    groups = make_optimizer(build_model(ModelConfig(encoder="lite", head_channels=16)), OptimizerConfig()).param_groups
    assert [group["weight_decay"] for group in groups] == [1e-4, 0.0]
    with pytest.raises(UserError, match=r"optimizer\.layer_decay: found 1\.5, expected a finite number > 0 and <= 1"):
        OptimizerConfig(layer_decay=1.5)
