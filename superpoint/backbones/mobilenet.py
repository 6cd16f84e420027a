"""MobileNet v2 and v3: inverted residuals, depthwise convolutions."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from superpoint.backbones.attention import SqueezeExcitation
from superpoint.backbones.network import ChainNetwork, ConvNorm, divisible

# V2, table 2: expansion t, channels c, repetitions n, first stride s.
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

# V3, tables 1 and 2: kernel, expanded channels, channels, squeeze-and-excitation, h-swish, stride.
Row = tuple[int, int, int, bool, bool, int]
LARGE: tuple[Row, ...] = (
    (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1),
)  # fmt: skip
SMALL: tuple[Row, ...] = (
    (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1), (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)  # fmt: skip
V3_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)  # as in TensorFlow


class InvertedResidual(nn.Module):
    """1x1 to more channels, depthwise 3x3, 1x1 to few, and a shortcut. Source: Sandler et al. 2018, table 1."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        widening = [] if expansion == 1 else [ConvNorm(in_channels, inner, 1, activation=nn.ReLU6)]
        self.residual = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            *widening,
            ConvNorm(inner, inner, 3, stride, groups=inner, activation=nn.ReLU6),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(ChainNetwork):
    """Source: Sandler et al. 2018, arXiv 1801.04381, table 2."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.2) -> None:
        super().__init__()
        channels = 32
        layers: list[nn.Module] = [ConvNorm(in_channels, channels, 3, 2, activation=nn.ReLU6)]
        for expansion, out_channels, count, first_stride in V2:
            for index in range(count):
                stride = 1 if index else first_stride
                layers.append(InvertedResidual(channels, out_channels, stride, expansion))
                channels = out_channels
        layers.append(ConvNorm(channels, 1280, 1, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, num_classes))


class InvertedResidualV3(nn.Module):
    """As version 2, with squeeze-and-excitation before the last convolution. Source: Howard et al. 2019, figure 4."""

    def __init__(self, in_channels: int, row: Row) -> None:
        super().__init__()
        kernel, inner, out_channels, squeeze, swish, stride = row
        activation = nn.Hardswish if swish else nn.ReLU
        layers: list[nn.Module] = []
        if inner != in_channels:
            layers.append(ConvNorm(in_channels, inner, 1, activation=activation, norm=V3_NORM))
        layers.append(ConvNorm(inner, inner, kernel, stride, groups=inner, activation=activation, norm=V3_NORM))
        if squeeze:
            layers.append(SqueezeExcitation(inner, divisible(inner // 4), nn.Hardsigmoid))
        layers.append(ConvNorm(inner, out_channels, 1, activation=None, norm=V3_NORM))
        self.residual = stride == 1 and in_channels == out_channels
        self.block = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class MobileNetV3(ChainNetwork):
    """Source: Howard et al. 2019, arXiv 1905.02244, tables 1 (`table` LARGE, `last` 1280) and 2 (SMALL, 1024)."""

    def __init__(
        self,
        table: Sequence[Row],
        last: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        channels = 16
        layers: list[nn.Module] = [ConvNorm(in_channels, channels, 3, 2, activation=nn.Hardswish, norm=V3_NORM)]
        for row in table:
            layers.append(InvertedResidualV3(channels, row))
            channels = row[2]
        layers.append(ConvNorm(channels, 6 * channels, 1, activation=nn.Hardswish, norm=V3_NORM))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(6 * channels, last),
            nn.Hardswish(inplace=True),
            nn.Dropout(dropout, inplace=True),
            nn.Linear(last, num_classes),
        )
