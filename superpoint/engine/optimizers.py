"""The optimiser of a run, and the moving average of its weights."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from superpoint.config import OptimizerConfig


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Return a fused optimiser over the trainable parameters of `model`.

    Weight decay applies to matrices and kernels only. With `config.layer_decay` the stages of the encoder learn at
    `rate_shares` of the rate; a group's "lr" is the rate of the heads.
    """
    shares = rate_shares(model, 1.0 if config.layer_decay is None else config.layer_decay)
    groups: list[dict[str, Any]] = []
    for share in dict.fromkeys(shares.values()):
        trainable = [p for name, p in model.named_parameters() if p.requires_grad and shares[name] == share]
        groups += [
            {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay, "rate_share": share},
            {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0, "rate_share": share},
        ]
    groups = [group for group in groups if group["params"]]
    optimizer: torch.optim.Optimizer
    if config.name == "sgd":
        optimizer = torch.optim.SGD(groups, config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=True)
    else:
        kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
        optimizer = kind(groups, config.lr, betas=(config.betas[0], config.betas[1]), fused=True)
    if any(group["rate_share"] != 1 for group in groups):
        optimizer.register_step_pre_hook(_scale_rates)
        optimizer.register_step_post_hook(_restore_rates)
    return optimizer


def rate_shares(model: nn.Module, decay: float) -> dict[str, float]:
    """Return the share of the rate per parameter: decay^k in the k-th last encoder stage, 1 elsewhere.

    Source: Howard, Ruder 2018 (ULMFiT), arXiv 1801.06146, section 3.2, with stages for layers.
    """
    names = [name for name, _ in model.named_parameters()]
    depths = {name: int(name.split(".")[2]) for name in names if name.startswith("encoder.stages.")}
    count = max(depths.values(), default=-1) + 1
    return {name: decay ** (count - depths[name]) if name in depths else 1.0 for name in names}


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def _scale_rates(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        group["full_lr"] = group["lr"]
        group["lr"] = group["lr"] * group["rate_share"]


def _restore_rates(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group.pop("full_lr")


class WeightAverage:
    """Exponential moving average of a model's parameters, with its buffers, in `model` (in evaluation mode).

    The decay is min(decay, (1 + n) / (10 + n)) after n updates, so that the initial weights are forgotten early.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self._own = [p.detach() for p in self.model.parameters()]
        self._own_buffers = [b.detach() for b in self.model.buffers()]
        self._source = [p.detach() for p in model.parameters()]
        self._source_buffers = [b.detach() for b in model.buffers()]

    def update(self, updates: int) -> None:
        """Move towards the source model; `updates` counts the calls before this one."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_(self._own, self._source, 1.0 - decay)  # pyright: ignore[reportPrivateImportUsage]
        for own, source in zip(self._own_buffers, self._source_buffers, strict=True):
            own.copy_(source)


def gradients(model: nn.Module) -> list[Tensor]:
    """Return the gradients that a backward pass left on the parameters of `model`."""
    return [p.grad for p in model.parameters() if p.grad is not None]
