"""Measure the output shapes, parameters and operations of a network's layers by running it on the meta device."""

import copy
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from superpoint.models.decode import pad_to_multiple

FLOP_CONVENTION = "a multiply-add is 2 FLOPs; convolutions and matrix products only"
Shape = tuple[int, ...]  # height, width, channels
Calls = list[tuple[str, Shape, int]]  # path of the module, shape of its output, FLOPs


@dataclass(frozen=True)
class Layer:
    """One call of a module without children, in the order of execution.

    Attributes:
        name: path of the module.
        kind: such as "conv 3x3".
        shape: of its output; () if it was never called or puts out no tensor.
        parameters: 0 for later calls of the same module.
        flops: see `FLOP_CONVENTION`.
    """

    name: str
    kind: str
    shape: Shape
    parameters: int
    flops: int


@dataclass(frozen=True)
class ModelSummary:
    """The layers of a network for one image.

    Attributes:
        padded: height and width after padding to multiples of 8; all shapes refer to it.
        parameters, flops: of the whole network.
    """

    height: int
    width: int
    padded: tuple[int, int]
    channels: int
    layers: list[Layer]
    parameters: int
    flops: int

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "flop_convention": FLOP_CONVENTION, "shape_order": "height, width, channels"}


def summarise(model: nn.Module, height: int = 120, width: int = 160) -> ModelSummary:
    """Measure a network for one image of that size; the network is left as it is.

    Parameters that no module without children owns, and operations outside of such modules, get rows of their own, so
    that the columns add up.
    """
    twin = copy.deepcopy(model).to("meta").eval()
    channels = cast(int, getattr(model, "channels", 1))
    image = pad_to_multiple(torch.zeros(1, channels, height, width, device="meta"))
    calls: Calls = []
    counter = FlopCounterMode(display=False)
    started: list[int] = []
    names = {module: name for name, module in twin.named_modules()}

    def before(module: nn.Module, _: Any) -> None:
        started.append(counter.get_total_flops())

    def after(module: nn.Module, _: Any, output: Any) -> None:
        calls.append((names[module], _shape(output), counter.get_total_flops() - started.pop()))

    for module in names:
        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
    with torch.no_grad(), counter:
        twin(image)
    # Of the network, not of its twin: on the meta device modules no longer share parameters.
    modules = dict(model.named_modules())
    layers = _layers(modules, calls, counter.get_total_flops())
    return ModelSummary(
        height=height,
        width=width,
        padded=(image.shape[2], image.shape[3]),
        channels=channels,
        layers=layers,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        flops=counter.get_total_flops(),
    )


def _layers(modules: dict[str, nn.Module], calls: Calls, total: int) -> list[Layer]:
    owned: set[int] = set()
    leaves = {name for name, module in modules.items() if not list(module.children())}
    layers = [
        Layer(name, describe(modules[name]), shape, _own(modules[name], owned), flops)
        for name, shape, flops in calls
        if name in leaves
    ]
    seen = {layer.name for layer in layers}
    for name, module in modules.items():
        if name not in seen and (count := _own(module, owned)):
            kind = f"{describe(module)}, not used" if name in leaves else "own parameters"
            layers.append(Layer(name or "(network)", kind, (), count, 0))
    outside = total - sum(layer.flops for layer in layers)
    if outside:
        layers.append(Layer("(outside of modules)", "functions", (), 0, outside))
    return layers


def _own(module: nn.Module, owned: set[int]) -> int:
    """Parameters directly of a module which no row has counted yet (shared ones count once)."""
    new = [parameter for parameter in module.parameters(recurse=False) if id(parameter) not in owned]
    owned.update(id(parameter) for parameter in new)
    return sum(parameter.numel() for parameter in new)


def describe(module: nn.Module) -> str:
    """Return a layer in a few words."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        name = "conv" if isinstance(module, nn.Conv2d) else "transposed conv"
        stride = f", stride {module.stride[0]}" if module.stride[0] != 1 else ""
        groups = f", {module.groups} groups" if module.groups != 1 else ""
        return f"{name} {'x'.join(map(str, module.kernel_size))}{stride}{groups}"
    if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
        size = module.kernel_size if isinstance(module.kernel_size, tuple) else (module.kernel_size,) * 2
        return f"{'max' if isinstance(module, nn.MaxPool2d) else 'mean'}-pool {'x'.join(map(str, size))}"
    if isinstance(module, nn.PixelUnshuffle):
        return f"space to depth {module.downscale_factor}x{module.downscale_factor}"
    names = {nn.BatchNorm2d: "batch norm", nn.ReLU: "ReLU", nn.Linear: "linear"}
    return names.get(type(module), type(module).__name__)


def _shape(output: Any) -> Shape:
    """(height, width, channels) of an output [B, C, H, W]; other tensors without their first axis."""
    if not isinstance(output, torch.Tensor):
        return ()
    return tuple(output.movedim(1, -1).shape[1:]) if output.ndim == 4 else tuple(output.shape[1:])
