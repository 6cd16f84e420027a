"""The VGG-style encoder of SuperPoint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class ConvBlock(nn.Sequential):
    """3x3 convolution, batch norm, ReLU. The convolution has no bias: the norm's shift is one."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class VGGEncoder(nn.Module):
    """Four stages of two 3x3 convolutions with 2x2 max-pooling between them: stride 8.

    Source: DeTone et al. 2018, section 3.2 and appendix (64-64-64-64-128-128-128-128).
    """

    def __init__(self, widths: Sequence[int] = (64, 64, 128, 128), in_channels: int = 1) -> None:
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"widths: found {list(widths)}, expected four")
        stages, channels = [], in_channels
        for width in widths:
            stages.append(nn.Sequential(ConvBlock(channels, width), ConvBlock(width, width)))
            channels = width
        self.stages = nn.ModuleList(stages)
        self.pool = nn.MaxPool2d(2)
        self.out_channels = channels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Features [B, C, H / 8, W / 8] of an image [B, 1, H, W]."""
        x = self.stages[0](image)
        for stage in list(self.stages)[1:]:
            x = stage(self.pool(x))
        return x
