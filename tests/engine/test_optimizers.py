import copy

import pytest
import torch
from torch import nn

from superpoint.config import OptimizerConfig
from superpoint.engine.optimizers import WeightAverage, make_optimizer


def make_net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    return net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def step(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    net(torch.rand(4, 1, 8, 8, generator=generator)).square().mean().backward()
    optimizer.step()


def test_kernels_decay_vectors_do_not_and_what_is_frozen_is_left_out() -> None:
    groups = make_optimizer(make_net(), OptimizerConfig(weight_decay=0.1)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [[p.ndim for p in group["params"]] for group in groups] == [[4, 4], [1, 1, 1, 1]]
    net = make_net()
    net[0].requires_grad_(False)
    groups = make_optimizer(net, OptimizerConfig()).param_groups
    assert [[p.ndim for p in group["params"]] for group in groups] == [[4], [1, 1, 1]]


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_fused_channels_last_follows_the_plain_algorithm(name: str) -> None:
    """The fused kernels walk over raw memory; parameters, gradients and moments must agree in their layout."""
    config = OptimizerConfig(name, lr=1e-3, weight_decay=0.1, betas=[0.8, 0.99], momentum=0.7)
    net = make_net()
    reference = copy.deepcopy(net).double()
    groups = [
        {"params": [p for p in reference.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in reference.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    plain: torch.optim.Optimizer
    if name == "sgd":
        plain = torch.optim.SGD(groups, 1e-3, momentum=0.7, foreach=False)
    else:
        kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
        plain = kind(groups, 1e-3, betas=(0.8, 0.99), foreach=False)
    optimizer = make_optimizer(net, config)
    for seed in range(5):
        optimizer.zero_grad()
        step(net, optimizer, seed)
        for own, other in zip(net.parameters(), reference.parameters(), strict=True):
            assert own.grad is not None
            other.grad = own.grad.double()  # the same gradients: only the update is compared
        plain.step()
    for own, other in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(own.double(), other, rtol=1e-5, atol=1e-6)


def test_average_copies_buffers() -> None:
    net = make_net()
    average = WeightAverage(net, decay=0.5)
    weight = net.state_dict()["0.weight"]
    step(net, make_optimizer(net, OptimizerConfig(lr=0.1)), 0)
    average.update(0)
    assert torch.equal(average.model.state_dict()["1.running_mean"], net.state_dict()["1.running_mean"])
    assert not torch.equal(average.model.state_dict()["0.weight"], weight)
    assert not average.model.training
    assert net.training
