"""Detector and descriptor heads on features of stride 8."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from superpoint.backbones.vgg import ConvBlock
from superpoint.geometry.cells import CHANNELS


class DetectorHead(nn.Module):
    """3x3 convolution, then 1x1 to 65 logits a cell: 64 pixels and the dustbin. No activation after the last layer.

    Source: DeTone et al. 2018, section 3.3.
    """

    def __init__(self, in_channels: int, hidden: int = 256) -> None:
        super().__init__()
        self.hidden = ConvBlock(in_channels, hidden)
        self.logits = nn.Conv2d(hidden, CHANNELS, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [B, 65, Hc, Wc] of features [B, C, Hc, Wc]."""
        return self.logits(self.hidden(features))


class DescriptorHead(nn.Module):
    """3x3 convolution, then 1x1 to D channels of unit length a cell. Source: DeTone et al. 2018, section 3.4."""

    def __init__(self, in_channels: int, hidden: int = 256, dim: int = 256) -> None:
        super().__init__()
        self.hidden = ConvBlock(in_channels, hidden)
        self.descriptor = nn.Conv2d(hidden, dim, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Unit descriptors [B, D, Hc, Wc] of features [B, C, Hc, Wc]."""
        return F.normalize(self.descriptor(self.hidden(features)), dim=1)
