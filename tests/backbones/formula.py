"""Weights and images by a formula, so that outputs of torchvision's networks can be kept as a few numbers.

Made with torchvision 0.29.2: fixtures/<network>.txt holds names and shapes of the state in its order, outputs.json the
first logits for `image` with the weights of `fill`, in evaluation mode.
"""

import math

import torch
from torch import Tensor, nn

PERIOD = 65521  # values repeat after so many, which keeps large matrices cheap


def wave(shape: torch.Size, phase: float) -> Tensor:
    count = math.prod(shape)
    values = torch.sin(torch.arange(min(count, PERIOD), dtype=torch.float64) ** 1.7 + phase)
    return values.repeat(-(-count // PERIOD))[:count].reshape(shape)


def fill(model: nn.Module, order: list[str]) -> None:
    """Set every parameter and buffer by the index of its name in `order`."""
    for name, tensor in model.state_dict().items():
        values = wave(tensor.shape, float(order.index(name)))
        if name.endswith("num_batches_tracked"):
            continue
        if tensor.ndim > 1:
            values = values * math.sqrt(2 / math.prod(tensor.shape[1:]))
        elif name.endswith("running_var"):
            values = 1.0 + 0.5 * values
        elif name.endswith("weight"):  # scale of a batch norm
            values = 0.8 + 0.2 * values
        else:
            values = 0.1 * values
        tensor.copy_(values)


def image(size: int = 64) -> Tensor:
    return wave(torch.Size((2, 3, size, size)), 0.5).float() * 2
