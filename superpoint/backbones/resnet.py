"""Residual networks: ResNet, ResNeXt, wide ResNet, SE- and CBAM-ResNet, small ones for CIFAR."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from superpoint.backbones.network import ConvNorm, StagedNetwork
from superpoint.errors import check_one_of

Attention = Callable[[int], nn.Module]  # from a number of channels to a module that keeps the shape
SHORTCUTS = ("A", "B", "C", "none")


class ZeroPadding(nn.Module):
    """Shortcut A: every `stride`-th pixel, and zeros as the further channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.added, self.stride = out_channels - in_channels, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut. Source: He et al. 2016, arXiv 1512.03385, figure 5, left.

    Output channels are `width` times `expansion`; `attention` acts on the residual; see ResNet for `shortcut`.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        *,
        shortcut: str = "B",
        attention: Attention | None = None,
        **convolutions: Any,
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.relu = nn.ReLU(inplace=True)
        self.add_convolutions(in_channels, width, stride, **convolutions)
        self.attention = nn.Identity() if attention is None else attention(out_channels)
        self.residual, self.downsample = shortcut != "none", None
        if shortcut == "C" or (self.residual and (stride != 1 or in_channels != out_channels)):
            if shortcut == "A":
                self.downsample = ZeroPadding(in_channels, out_channels, stride)
            else:
                self.downsample = ConvNorm(in_channels, out_channels, 1, stride, activation=None)

    def add_convolutions(
        self, in_channels: int, width: int, stride: int, groups: int = 1, group_width: int = 64
    ) -> None:
        if groups != 1 or group_width != 64:
            raise ValueError(f"groups: found {groups} of width {group_width}, expected blocks with a bottleneck")
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.attention(self.convolve(x))
        if self.residual:
            out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out)


class Bottleneck(BasicBlock):
    """1x1, 3x3 (in groups: ResNeXt) and 1x1 convolution. Source: He et al. 2016, figure 5, right; Xie et al. 2017.

    The stride is in the 3x3 convolution (torchvision's "v1.5"), the paper's in the first.
    """

    expansion = 4

    def add_convolutions(
        self, in_channels: int, width: int, stride: int, groups: int = 1, group_width: int = 64
    ) -> None:
        inner, out_channels = width * group_width // 64 * groups, width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))


class ResidualNetwork(StagedNetwork):
    def add_layers(
        self,
        make: Callable[[int, int, int], BasicBlock],
        channels: int,
        widths: Sequence[int],
        counts: Sequence[int],
    ) -> int:
        """Add layer1, layer2, ... of `counts` blocks; return the channels of the last.

        `make` takes input channels, width and stride: 2 in the first block of each layer but the first.
        """
        for index, (width, count) in enumerate(zip(widths, counts, strict=True)):
            blocks = []
            for position in range(count):
                blocks.append(make(channels, width, 2 if index and not position else 1))
                channels = width * blocks[0].expansion
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        return channels


class ResNet(ResidualNetwork):
    """Four stages of residual blocks behind a 7x7 convolution and a pooling. Source: He et al. 2016, table 1.

    Args:
        block: BasicBlock (18, 34 layers) or Bottleneck.
        counts: blocks of each stage.
        shortcut: where a block changes the shape: A adds zeros as further channels, B projects (torchvision); C
            projects in every block; none makes the plain network.
        groups, group_width: of the 3x3 convolutions of bottlenecks: ResNeXt, wide ResNet.
        attention: made for every block; acts on the residual before it is added.
    """

    STAGES = (("conv1", "bn1", "relu"), ("maxpool", "layer1"), ("layer2",), ("layer3",), ("layer4",))

    def __init__(
        self,
        block: type[BasicBlock],
        counts: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        shortcut: str = "B",
        groups: int = 1,
        group_width: int = 64,
        attention: Attention | None = None,
    ) -> None:
        super().__init__()
        check_one_of("shortcut", shortcut, SHORTCUTS)
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        make = partial(block, shortcut=shortcut, attention=attention, groups=groups, group_width=group_width)
        channels = self.add_layers(make, 64, (64, 128, 256, 512), counts)
        self.fc = nn.Linear(channels, num_classes)


class SmallResNet(ResidualNetwork):
    """Three stages of 16, 32 and 64 channels for images of about 32x32, 6n + 2 layers. Shortcut "none" makes it plain.

    Source: He et al. 2016, section 4.2, with shortcut A.
    """

    STAGES = (("conv1", "bn1", "relu", "layer1"), ("layer2",), ("layer3",))

    def __init__(self, depth: int, num_classes: int = 10, in_channels: int = 3, *, shortcut: str = "A") -> None:
        super().__init__()
        check_one_of("shortcut", shortcut, SHORTCUTS)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        counts = [(depth - 2) // 6] * 3
        self.fc = nn.Linear(
            self.add_layers(partial(BasicBlock, shortcut=shortcut), 16, (16, 32, 64), counts), num_classes
        )
