"""ShuffleNet v2."""

import torch
from torch import nn

from superpoint.backbones.network import ConvNorm, StagedNetwork

# Table 5: channels of stage 2, 3, 4 and of the last convolution, by the factor of complexity.
WIDTHS = {
    "x0_5": (48, 96, 192, 1024),
    "x1_0": (116, 232, 464, 1024),
    "x1_5": (176, 352, 704, 1024),
    "x2_0": (244, 488, 976, 2048),
}


def depthwise(channels: int, stride: int) -> ConvNorm:
    return ConvNorm(channels, channels, 3, stride, groups=channels, activation=None)


class ShuffleUnit(nn.Module):
    """Half of the channels pass, half are convolved (stride 2: both); then they are interleaved.

    Source: Ma et al. 2018, figure 3 (c, d).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.split = stride == 1
        self.branch1 = nn.Sequential()
        if not self.split:
            self.branch1 = nn.Sequential(*depthwise(in_channels, stride), *ConvNorm(in_channels, half, 1))
        self.branch2 = nn.Sequential(
            *ConvNorm(half if self.split else in_channels, half, 1), *depthwise(half, stride), *ConvNorm(half, half, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, 1) if self.split else (x, x)
        halves = torch.stack((self.branch1(first), self.branch2(second)), 2)  # [B, C / 2, 2, H, W]
        return halves.flatten(1, 2)  # a channel of the first, one of the second, ...


class ShuffleNetV2(StagedNetwork):
    """Source: Ma et al. 2018, arXiv 1807.11164, table 5. `size`: x0_5, x1_0, x1_5 or x2_0."""

    STAGES = (("conv1",), ("maxpool",), ("stage2",), ("stage3",), ("stage4", "conv5"))

    def __init__(self, size: str = "x1_0", num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        *widths, last = WIDTHS[size]
        channels = 24
        self.conv1 = ConvNorm(in_channels, channels, 3, 2)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for index, (width, count) in enumerate(zip(widths, (4, 8, 4), strict=True)):
            units = [ShuffleUnit(width if unit else channels, width, 1 if unit else 2) for unit in range(count)]
            self.add_module(f"stage{index + 2}", nn.Sequential(*units))
            channels = width
        self.conv5 = ConvNorm(channels, last, 1)
        self.fc = nn.Linear(last, num_classes)
