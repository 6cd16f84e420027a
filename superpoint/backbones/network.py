"""What all classification networks share: logits out, and a trunk that can serve as an encoder."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Stage = dict[str, nn.Module]  # path of a module in the network -> the module, in the order of execution


class ClassificationNetwork(nn.Module):
    """Images [B, C, H, W] in, logits [B, classes] out. Source of each: the docstring of its class.

    Parameters are named and shaped as torchvision's where it has the network, so that its checkpoints load strictly.
    """

    def output_layers(self) -> list[nn.Module]:
        """The layers that put out logits: they start near zero, so that the first loss is ln(classes)."""
        return [[layer for layer in self.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))][-1]]

    def stages(self) -> list[Stage]:
        """The trunk without its classifier; each stage but the first begins where the features get coarser."""
        raise NotImplementedError(f"{type(self).__name__} is a classifier only")


class ConvNorm(nn.Sequential):
    """Convolution without bias that keeps the size (at stride 1), batch norm, and an activation or none."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = nn.ReLU,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, out_channels, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
            norm(out_channels),
        ]
        if activation is not None:
            layers.append(activation(inplace=True))
        super().__init__(*layers)


def split_at_strides(path: str, features: nn.Sequential) -> list[Stage]:
    """Stages of a chain of layers or blocks: a new one at each that halves the size, but for the first layer."""
    stages: list[Stage] = [{}]
    for name, block in features.named_children():
        if halves(block) and stages[-1]:
            stages.append({})
        stages[-1][f"{path}.{name}"] = block
    return stages


def halves(block: nn.Module) -> bool:
    """Whether a block has a convolution or pooling of stride 2."""
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    return any(isinstance(layer, kinds) and layer.stride in (2, (2, 2)) for layer in block.modules())


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple of `by`, not more than 10 % below `channels` and at least `by`.

    Source: Sandler et al. 2018 (MobileNetV2), as their implementation rounds widths.
    """
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded
