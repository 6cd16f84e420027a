"""Attention inside residual blocks: squeeze-and-excitation, and channel followed by spatial attention (CBAM)."""

import torch
from torch import nn


class SqueezeExcitation(nn.Module):
    """A factor per channel, from the means of all. Source: Hu et al. 2018, arXiv 1709.01507, equations 2 to 4."""

    def __init__(self, channels: int, squeezed: int | None = None, gate: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        squeezed = channels // 16 if squeezed is None else squeezed  # section 6.1: ratio 16
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU()
        self.scale_activation = gate()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale_activation(self.excite(self.avgpool(x)))

    def excite(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(pooled)))


class ChannelAttention(SqueezeExcitation):
    """A factor per channel, from means and maxima. Source: Woo et al. 2018 (CBAM), arXiv 1807.06521, equation 2."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale_activation(self.excite(self.avgpool(x)) + self.excite(x.amax((2, 3), keepdim=True)))


class SpatialAttention(nn.Module):
    """A factor per pixel, from mean and maximum over the channels. Source: as above, equation 3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), 1)
        return x * torch.sigmoid(self.norm(self.conv(pooled)))


class ChannelSpatialAttention(nn.Sequential):
    """Channel, then spatial attention. Source: as above, equation 1 and section 3."""

    def __init__(self, channels: int) -> None:
        super().__init__(ChannelAttention(channels), SpatialAttention())
