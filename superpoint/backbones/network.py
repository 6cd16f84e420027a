"""The base of all classification networks."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import nn

# Mean and spread of the colours (red, green, blue), 0..1, by which torchvision's networks expect images normalised.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Stage = dict[str, nn.Module]  # path of a module in the network -> the module, in the order of execution


class ClassificationNetwork(nn.Module):
    """A network from images [B, C, H, W] to logits [B, classes], whose trunk can serve as an encoder.

    Parameters have torchvision's names and shapes where it has the network, so that its checkpoints load strictly.
    """

    def output_layer(self) -> tuple[str, nn.Linear | nn.Conv2d]:
        """Return path and layer of the logits, which starts near zero: the first loss is ln(classes)."""
        return [(name, layer) for name, layer in self.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))][-1]

    def stages(self) -> list[Stage]:
        """Return the trunk without the classifier; each stage but the first begins where features get coarser."""
        raise NotImplementedError(f"{type(self).__name__} is a classifier only")


class ChainNetwork(ClassificationNetwork):
    """A chain of layers or blocks `features`, a pooling `avgpool`, and a `classifier` of vectors."""

    features: nn.Sequential
    avgpool: nn.Module
    classifier: nn.Module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.avgpool(self.features(image)).flatten(1))

    def stages(self) -> list[Stage]:
        stages: list[Stage] = [{}]
        for name, block in self.features.named_children():
            if halves(block) and stages[-1]:
                stages.append({})
            stages[-1][f"features.{name}"] = block
        return stages


class StagedNetwork(ClassificationNetwork):
    """Modules executed in the order of `STAGES`, means over the image, and a matrix `fc`."""

    STAGES: ClassVar[tuple[tuple[str, ...], ...]]  # names of the modules of each stage
    fc: nn.Linear

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image
        for stage in self.stages():
            for module in stage.values():
                x = module(x)
        return self.fc(x.mean((2, 3)))

    def stages(self) -> list[Stage]:
        return [{name: self.get_submodule(name) for name in stage} for stage in self.STAGES]


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, and an activation or none."""

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
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
            norm(out_channels),
            *([] if activation is None else [activation(inplace=True)]),
        )


def halves(block: nn.Module) -> bool:
    """Return whether a block has a convolution or pooling of stride 2."""
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    return any(isinstance(layer, kinds) and layer.stride in (2, (2, 2)) for layer in block.modules())


def divisible(channels: float) -> int:
    """Return the nearest multiple of 8, at least 8 and not more than 10 % below `channels` (Sandler et al. 2018)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
