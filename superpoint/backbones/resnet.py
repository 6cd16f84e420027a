"""Residual networks and their relatives: ResNet, ResNeXt, wide ResNet, SE- and CBAM-ResNet, small ones for CIFAR."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from superpoint.backbones.network import ClassificationNetwork, Stage
from superpoint.errors import check_one_of

Attention = Callable[[int], nn.Module]  # from a number of channels to a module that keeps the shape
SHORTCUTS = ("A", "B", "C", "none")


class ZeroPadding(nn.Module):
    """Shortcut A: every `stride`-th place, and zeros as the further channels; no parameters."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.added, self.stride = out_channels - in_channels, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))


def make_shortcut(kind: str, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The shortcut of a block: None where the input is added as it is (or, kind "none", not at all)."""
    changed = stride != 1 or in_channels != out_channels
    if kind == "none" or (not changed and kind != "C"):
        return None
    if kind == "A":
        return ZeroPadding(in_channels, out_channels, stride)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions. Source: He et al. 2016, arXiv 1512.03385, figure 5, left."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        *,
        shortcut: str = "B",
        groups: int = 1,
        group_width: int = 64,
        stride_in_1x1: bool = False,
        attention: Attention | None = None,
    ) -> None:
        super().__init__()
        if groups != 1 or group_width != 64:
            raise ValueError(f"groups: found {groups} of width {group_width}, expected blocks with a bottleneck")
        self.residual = shortcut != "none"
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.attention = nn.Identity() if attention is None else attention(width)
        self.downsample = make_shortcut(shortcut, in_channels, width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.attention(self.bn2(self.conv2(out)))
        if self.residual:
            out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3 (in groups: ResNeXt) and 1x1 convolution. Source: He et al. 2016, figure 5, right; Xie et al. 2017.

    The stride is in the 3x3 convolution as torchvision has it ("v1.5"), in the first 1x1 one as in the paper if
    `stride_in_1x1`.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        *,
        shortcut: str = "B",
        groups: int = 1,
        group_width: int = 64,
        stride_in_1x1: bool = False,
        attention: Attention | None = None,
    ) -> None:
        super().__init__()
        inner, out_channels = width * group_width // 64 * groups, width * self.expansion
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.residual = shortcut != "none"
        self.conv1 = nn.Conv2d(in_channels, inner, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, second, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.attention = nn.Identity() if attention is None else attention(out_channels)
        self.downsample = make_shortcut(shortcut, in_channels, out_channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.attention(self.bn3(self.conv3(out)))
        if self.residual:
            out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out)


class ResNet(ClassificationNetwork):
    """Four stages of residual blocks behind a 7x7 convolution and a pooling. Source: He et al. 2016, table 1.

    Args:
        block: BasicBlock (18, 34 layers) or Bottleneck.
        counts: blocks of each stage.
        shortcut: where a block changes the shape: A adds zeros as further channels, B projects (torchvision); C
            projects in every block; none leaves all shortcuts out: the plain network.
        groups, group_width: of the 3x3 convolutions of bottlenecks: ResNeXt, wide ResNet.
        stride_in_1x1: see Bottleneck.
        attention: made for every block; acts on the residual before it is added.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        counts: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        shortcut: str = "B",
        groups: int = 1,
        group_width: int = 64,
        stride_in_1x1: bool = False,
        attention: Attention | None = None,
    ) -> None:
        super().__init__()
        check_one_of("shortcut", shortcut, SHORTCUTS)
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for index, count in enumerate(counts):
            blocks, width = [], 64 * 2**index
            for position in range(count):
                stride = 2 if index and not position else 1
                blocks.append(
                    block(
                        channels,
                        width,
                        stride,
                        shortcut=shortcut,
                        groups=groups,
                        group_width=group_width,
                        stride_in_1x1=stride_in_1x1,
                        attention=attention,
                    )
                )
                channels = width * block.expansion
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image
        for stage in self.stages():
            for module in stage.values():
                x = module(x)
        return self.fc(self.avgpool(x).flatten(1))

    def stages(self) -> list[Stage]:
        modules = dict(self.named_children())
        names = (("conv1", "bn1", "relu"), ("maxpool", "layer1"), ("layer2",), ("layer3",), ("layer4",))
        return [{name: modules[name] for name in stage} for stage in names]


class SmallResNet(ClassificationNetwork):
    """Three stages of 16, 32 and 64 channels for images of about 32x32, 6n + 2 layers.

    Source: He et al. 2016, section 4.2; shortcut A there. shortcut "none" is its plain counterpart.
    """

    def __init__(self, depth: int, num_classes: int = 10, in_channels: int = 3, *, shortcut: str = "A") -> None:
        super().__init__()
        check_one_of("shortcut", shortcut, SHORTCUTS)
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth: found {depth}, expected 6n + 2: 8, 14, 20, 32, 44, 56, 110, ...")
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        channels = 16
        for index in range(3):
            blocks, width = [], 16 * 2**index
            for position in range((depth - 2) // 6):
                stride = 2 if index and not position else 1
                blocks.append(BasicBlock(channels, width, stride, shortcut=shortcut))
                channels = width
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(image)))
        for name in ("layer1", "layer2", "layer3"):
            x = self.get_submodule(name)(x)
        return self.fc(self.avgpool(x).flatten(1))
