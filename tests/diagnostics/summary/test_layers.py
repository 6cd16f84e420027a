import json

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from superpoint.config import ModelConfig
from superpoint.diagnostics.summary.layers import ModelSummary, describe, summarise
from superpoint.models import SuperPoint, build_model
from superpoint.models.heads import DetectorHead


def summed(model: nn.Module) -> ModelSummary:
    """The summary for an image of 32x40, whose columns add up to what torch counts."""
    summary = summarise(model, 32, 40)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 1, 32, 40))
    assert sum(layer.flops for layer in summary.layers) == summary.flops == counter.get_total_flops()
    assert summary.parameters == sum(p.numel() for p in model.parameters())
    assert sum(layer.parameters for layer in summary.layers) == summary.parameters
    return summary


def test_layers_of_the_default_network_by_hand() -> None:
    layers = summarise(build_model(ModelConfig())).layers
    by_name = {layer.name: layer for layer in layers}
    first, last = by_name["encoder.stages.0.0.0"], by_name["detector.logits"]
    assert (first.kind, first.shape, first.parameters) == ("conv 3x3", (120, 160, 64), 9 * 64)
    assert first.flops == 2 * 9 * 64 * 120 * 160
    assert (last.kind, last.shape) == ("conv 1x1", (15, 20, 65))
    assert last.parameters == 256 * 65 + 65
    pooled = [layer.shape for layer in layers if layer.name == "encoder.pool"]
    assert pooled == [(60, 80, 64), (30, 40, 64), (15, 20, 128)]


def test_descriptor_head() -> None:
    model = build_model(ModelConfig("lite", 32, 64))
    summed(model)
    summary = summarise(model)
    by_name = {layer.name: layer for layer in summary.layers}
    assert by_name["descriptor.descriptor"].shape == (15, 20, 64)


class Residual(nn.Module):
    """A sum that no module computes, and a convolution beside the others."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(channels, out, 1, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv2(torch.relu(self.conv1(x))) + self.skip(x))


class OtherEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 7, stride=2, padding=3)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(Residual(8, 12), Residual(12, 16))
        self.scale = nn.Parameter(torch.ones(16, 1, 1))
        self.mix = nn.Parameter(torch.ones(16, 16, 1, 1))
        self.unused = nn.Linear(3, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.layer1(self.relu(self.norm(self.conv(image)))) * self.scale
        return nn.functional.conv2d(features, self.mix)


def test_an_encoder_of_another_kind() -> None:
    summary = summed(SuperPoint(OtherEncoder(), DetectorHead(16, 8)))
    by_name = {layer.name: layer for layer in summary.layers}
    assert by_name["encoder"].parameters == 16 + 16 * 16
    assert by_name["(outside of modules)"].flops == 2 * 16 * 16 * 4 * 5
    assert by_name["encoder.unused"].kind == "linear, not used"
    assert by_name["encoder.layer1.0.conv1"].kind == "conv 3x3, stride 2"


class SharedEncoder(nn.Module):
    """One layer called twice, and another that has its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, stride=4, padding=1)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.last.weight = self.twice.weight

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.last(self.twice(self.twice(self.first(image))))


def test_shared_parameters_count_once_and_their_operations_every_time() -> None:
    summary = summed(SuperPoint(SharedEncoder(), DetectorHead(4, 8)))
    rows = [(layer.name, layer.parameters) for layer in summary.layers if layer.name.startswith("encoder")]
    assert rows == [
        ("encoder.first", 40),
        ("encoder.twice", 4 * 4 * 9 + 4),
        ("encoder.twice", 0),
        ("encoder.last", 4),  # its bias
    ]


def test_size_that_is_no_multiple_of_8() -> None:
    summary = summarise(build_model(ModelConfig("lite", 16)), 100, 161)
    assert summary.padded == (104, 168)
    assert summary.layers[-1].shape == (13, 21, 65)


def test_the_network_is_left_as_it_is() -> None:
    model = build_model(ModelConfig("lite", 16)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    summarise(model, 48, 64)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_as_json() -> None:
    content = json.loads(json.dumps(summarise(build_model(ModelConfig("lite", 16)), 48, 64).as_dict()))
    assert content["layers"][0]["shape"] == [48, 64, 32]
    assert content["flop_convention"].startswith("a multiply-add is 2 FLOPs")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Conv2d(4, 8, (1, 3), groups=4), "conv 1x3, 4 groups"),
        (nn.ConvTranspose2d(4, 8, 2, stride=2), "transposed conv 2x2, stride 2"),
        (nn.AvgPool2d((2, 3)), "mean-pool 2x3"),
        (nn.GELU(), "GELU"),
    ],
)
def test_words_for_layers(module: nn.Module, words: str) -> None:
    assert describe(module) == words
