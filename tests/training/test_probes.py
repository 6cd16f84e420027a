"""Probes in real runs: what they log, that they leave nothing behind and change nothing."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from superpoint.config import MagicPointConfig, ModelConfig, load_config
from superpoint.data.samples import SyntheticShapes
from superpoint.engine import RunFolder, make_fabric
from superpoint.evaluation.statistics import output_statistics
from superpoint.models import build_model
from superpoint.models.checkpoint import load_checkpoint
from superpoint.models.superpoint import SuperPoint
from superpoint.training.magicpoint import fit_detector
from superpoint.training.probes import DetectorProbe, activation_statistics, probed_layers
from tests.conftest import TINY_MODEL, TINY_TRAINING

BLOCKS = [f"encoder.stages.{stage}.{block}" for stage in range(4) for block in range(2)] + ["detector.hidden"]


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def image(count: int = 2, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 32, 40, generator=torch.Generator().manual_seed(seed))


def step(probe: DetectorProbe, model: SuperPoint, *images: Tensor) -> dict[str, Any]:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    probe.before_step(model)
    for part in images:
        model(part)["logits"].float().square().mean().backward()
    probe.before_update(model)
    optimizer.step()
    return probe.after_update(model)


def train_tiny(run: Path, *overrides: str) -> list[dict[str, Any]]:
    settings = [*TINY_TRAINING, "train.batch_size=4", "train.log_every=20", "train.steps=5", f"run={run}", *overrides]
    config = load_config(MagicPointConfig, None, settings)

    def validate(model: nn.Module) -> dict[str, Any]:
        return {"selected_by": "AP", "AP": float(hooks(model))}

    fit_detector(config, make_fabric(config.train), SyntheticShapes(config.data, config.seed), validate)
    return RunFolder(run).history().entries


def test_layers_are_the_blocks_and_the_last_convolutions() -> None:
    model = build_model(TINY_MODEL)
    layers = probed_layers(model)
    assert list(layers) == [*BLOCKS, "detector.logits"]
    assert layers["detector.logits"][1] is model.detector.logits.weight
    assert layers["detector.hidden"][0] is model.detector.hidden
    with_descriptors = build_model(ModelConfig(encoder="lite", head_channels=16, descriptor_dim=8))
    assert set(probed_layers(with_descriptors)) - set(layers) == {"descriptor.hidden", "descriptor.descriptor"}


def test_activations_of_a_known_tensor() -> None:
    output = torch.tensor([[1.0, 3.0], [0.0, 0.0], [-1.0, 0.0], [0.0, 5.0]])[None, :, None]
    found = {key: float(value) for key, value in activation_statistics(output, rectified=True).items()}
    assert found["mean"] == pytest.approx(1.0)
    assert found["std"] == pytest.approx(math.sqrt((1 + 9 + 1 + 25) / 8 - 1))
    assert found["dead"] == 0.5  # the second and the third channel
    assert "dead" not in activation_statistics(output, rectified=False)


@pytest.mark.parametrize("options", [[], ["train.accumulate=2"], ["train.precision=fp32", "train.channels_last=false"]])
def test_a_run_logs_probe_lines(tmp_path: Path, options: list[str]) -> None:
    train_tiny(tmp_path / "run", "train.probe_every=2", *options)
    lines = RunFolder(tmp_path / "run").history().events("probe")
    assert [line["step"] for line in lines] == [0, 2, 4]
    for line in lines:
        assert {"layers", "output", "weights_norm", "grad_norm", "lr"} <= set(line)
        assert set(line["layers"]) == {*BLOCKS, "detector.logits"}
        for name, layer in line["layers"].items():
            wanted = {"mean", "std", "grad_norm", "weight_norm", "update_ratio"}
            assert set(layer) == (wanted if name == "detector.logits" else wanted | {"dead"})
            assert all(value is not None and math.isfinite(value) for value in layer.values())
        squares = sum(layer["grad_norm"] ** 2 for layer in line["layers"].values())
        assert 0.5 * line["grad_norm"] < math.sqrt(squares) <= line["grad_norm"] * 1.001  # the rest: norms and biases
        assert line["grad_norm"] <= 1.001  # as clipped
        assert set(line["output"]) == set(output_statistics(torch.zeros(2, 65, 1, 1)))
    assert lines[0]["lr"] < lines[1]["lr"] or lines[0]["lr"] > lines[2]["lr"]
    assert 1e-6 < lines[1]["layers"]["detector.logits"]["update_ratio"] < 1
    # At the start: all classes alike but for the dustbin, which the weight of positives has moved.
    assert lines[0]["output"]["dustbin"] == pytest.approx(3 / 67, rel=0.1)


def test_probes_change_nothing_and_never_is_possible(tmp_path: Path) -> None:
    states = []
    for every in (0, 1):
        lines = train_tiny(tmp_path / str(every), f"train.probe_every={every}")
        assert sum(line["event"] == "probe" for line in lines) == 5 * every
        states.append(load_checkpoint(tmp_path / str(every) / "checkpoints/last.ckpt"))
    for part in ("model", "ema"):
        for name, tensor in states[0][part].items():
            assert torch.equal(tensor, states[1][part][name]), name


def test_nothing_stays_on_the_model() -> None:
    model, probe = build_model(TINY_MODEL).train(), DetectorProbe()
    probe.before_step(model)
    attached = hooks(model)
    assert attached == len(BLOCKS) + 2  # the logits and the model itself
    probe.before_step(model)  # the step before ended in an exception
    assert hooks(model) == attached
    found = step(probe, model, image())
    assert hooks(model) == 0
    json.dumps(found, allow_nan=False)


def test_numbers_are_those_of_the_step() -> None:
    model, probe = build_model(TINY_MODEL).train(), DetectorProbe()
    weight, before = model.detector.logits.weight, model.detector.logits.weight.detach().clone()
    found = step(probe, model, image(seed=1), image(seed=2))
    layer = found["layers"]["detector.logits"]
    assert weight.grad is not None
    assert layer["grad_norm"] == pytest.approx(float(weight.grad.norm()))
    assert layer["weight_norm"] == pytest.approx(float(before.norm()))
    assert layer["update_ratio"] == pytest.approx(0.1 * layer["grad_norm"] / layer["weight_norm"], rel=1e-4)
    fresh = build_model(TINY_MODEL).train()
    fresh(image(seed=1))
    logits = fresh(image(seed=2))["logits"].detach()
    assert found["output"] == pytest.approx(output_statistics(logits))
    assert layer["mean"] == pytest.approx(float(logits.mean()), rel=1e-3)
    assert found["weights_norm"] == pytest.approx(
        math.sqrt(sum(float(p.detach().square().sum()) for p in model.parameters())), rel=1e-5
    )


def test_dead_channels_are_seen() -> None:
    model = build_model(TINY_MODEL).train()
    norm = model.get_submodule("encoder.stages.2.0.1")
    with torch.no_grad():
        norm.get_parameter("bias")[:16] = -100.0  # 16 of 64 channels never pass the ReLU
    layers = step(DetectorProbe(), model, image())["layers"]
    assert layers["encoder.stages.2.0"]["dead"] == pytest.approx(0.25)
    assert layers["encoder.stages.0.0"]["dead"] < 0.1


def test_half_precision_frozen_layers_and_other_networks() -> None:
    model = build_model(TINY_MODEL).train()
    model.encoder.requires_grad_(False)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    with torch.autocast("cpu", torch.bfloat16):
        found = step(DetectorProbe(), model, image())
    assert found["layers"][BLOCKS[0]]["grad_norm"] == found["layers"][BLOCKS[0]]["update_ratio"] == 0
    assert found["layers"]["detector.logits"]["update_ratio"] > 0
    other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(1))
    other(image())
    probe = DetectorProbe()
    probe.before_step(other)
    other(image()).sum().backward()
    probe.before_update(other)
    found = probe.after_update(other)
    assert set(found["layers"]) == {"0", "3"}
    assert found["output"] == {}


@pytest.mark.filterwarnings("default")  # torch's compiler warns about itself
def test_compiled_networks_are_probed_too_and_stay_compiled() -> None:
    model, probe, graphs = build_model(TINY_MODEL).train(), DetectorProbe(), []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        """Captures as the real one does, but needs no C++ compiler."""
        graphs.append(graph)
        return graph.forward

    compiled = cast(nn.Module, torch.compile(model, backend=backend))
    for captured in (0, 1):  # before the first compilation, and after it
        probe.before_step(model)
        compiled(image())["logits"].square().mean().backward()
        probe.before_update(model)
        found = probe.after_update(model)
        assert len(graphs) == captured
        assert found["output"]["logit_max"] > 0
        assert "std" in found["layers"][BLOCKS[0]]
        compiled(image())["logits"].square().mean().backward()
        assert len(graphs) == 1
        assert probe._outputs == {}
        assert hooks(model) == 0
