"""Checks of the layers: dead units, statistics, half precision."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.network import batchnorm, dead_relu, precision
from superpoint.diagnostics.finding import Status
from superpoint.geometry.cells import CHANNELS
from tests.diagnostics import faults


class Plain(nn.Module):
    """A network without batch norm and without nn.ReLU."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.only = nn.Conv2d(1, CHANNELS, 8, stride=8)
        self.only.weight = nn.Parameter(torch.randn(CHANNELS, 1, 8, 8, generator=generator) / 8)
        self.only.bias = nn.Parameter(torch.zeros(CHANNELS))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": self.only((image - 0.5) * 4)}


def test_dead_channels_are_counted_and_named(healthy: Case) -> None:
    found = dead_relu(faults.dead_channels(healthy))
    assert "'detector.hidden.2' has most dead channels, 67%" in found.evidence


def test_some_dying_channels_are_a_warning(healthy: Case) -> None:
    def change(model: nn.Module) -> None:
        model.get_submodule("encoder.stages.3.0.1").get_parameter("bias")[:32] = -1000

    found = dead_relu(faults.with_network(healthy, change))
    assert found.status is Status.WARN
    assert "'encoder.stages.3.0.2' has most dead channels, 25%" in found.evidence


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (torch.relu, "never negative"),
        (torch.sigmoid, "never negative"),
        (lambda x: x.softmax(dim=1), "never negative"),
        (lambda x: x * 0, "same number"),
    ],
)
def test_broken_last_layers_are_found(healthy: Case, change: Callable[[Tensor], Tensor], cause: str) -> None:
    found = dead_relu(faults.with_logits(healthy, change))
    assert found.status is Status.FAIL
    assert cause in found.cause


def test_a_network_of_another_make_can_be_judged(healthy: Case) -> None:
    plain = replace(healthy, model=Plain().eval())
    assert "no nn.ReLU" in dead_relu(plain).evidence
    assert "no batch norm" in batchnorm(plain).evidence
    assert precision(plain).status is Status.PASS


def test_statistics_that_were_never_updated_are_found(healthy: Case) -> None:
    def reset(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()

    broken = faults.with_network(healthy, reset)
    found = batchnorm(broken)
    assert found.status is Status.FAIL
    assert "never updated" in found.cause
    untrained = batchnorm(replace(broken, history=[]))
    assert untrained.status is Status.PASS
    assert "untrained" in untrained.evidence


def test_a_run_that_has_just_begun_is_excused(healthy: Case) -> None:
    broken = replace(faults.wrong_statistics(healthy), history=[{"step": 20, "event": "train", "loss": 2.0}])
    found = batchnorm(broken)
    assert found.status is Status.WARN
    assert "After 80 samples" in found.cause


def test_batchnorm_leaves_the_buffers_alone(healthy: Case) -> None:
    broken = faults.wrong_statistics(healthy)
    before = {name: tensor.clone() for name, tensor in broken.model.named_buffers()}
    found = batchnorm(broken)
    assert all(torch.equal(tensor, before[name]) for name, tensor in broken.model.named_buffers())
    assert "'encoder.stages.2.1.1'" in found.evidence
    assert found.status is Status.FAIL
    assert not broken.model.training
