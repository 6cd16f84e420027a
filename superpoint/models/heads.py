"""Detector and descriptor heads on features of stride 8."""

import torch
import torch.nn.functional as F
from torch import nn

from superpoint.backbones.vgg import ConvBlock
from superpoint.geometry.cells import CELL, CHANNELS


class FineBranch(nn.Module):
    """Logits per pixel from features of an early stage: where in the cell a keypoint lies. Not in the paper.

    Coarse features learn positions slowly on photographs. Added to the logits of the 64 pixels, and 0 at first.

    Args:
        in_channels: of the detail.
        stride: of the detail, each of whose values gives the logits of stride x stride pixels.
        stage: of the encoder, whose output the detail is.
    """

    def __init__(self, in_channels: int, hidden: int = 8, stride: int = 1, stage: int = 0) -> None:
        super().__init__()
        self.stride, self.stage = stride, stage
        self.hidden = ConvBlock(in_channels, hidden)
        self.logit = nn.Conv2d(hidden, stride**2, 3, padding=1, bias=False)

    def forward(self, detail: torch.Tensor) -> torch.Tensor:
        """Map detail [B, C, H / stride, W / stride] to [B, 64, H / 8, W / 8], channel 8 row + column of the cell."""
        logit = self.logit(self.hidden(detail))
        if self.stride > 1:
            logit = F.pixel_shuffle(logit, self.stride)
        return F.pixel_unshuffle(logit, CELL)


class DetectorHead(nn.Module):
    """A 3x3 convolution, then 1x1 to 65 logits per cell: 64 pixels and the dustbin.

    Source: DeTone et al. 2018, section 3.3. `fine` is ours, see `FineBranch`.
    """

    def __init__(self, in_channels: int, hidden: int = 256, fine: FineBranch | None = None) -> None:
        super().__init__()
        self.hidden = ConvBlock(in_channels, hidden)
        self.logits = nn.Conv2d(hidden, CHANNELS, 1)
        self.fine = fine

    def forward(self, features: torch.Tensor, detail: torch.Tensor | None = None) -> torch.Tensor:
        """Map features [B, C, Hc, Wc] to logits [B, 65, Hc, Wc]; `detail` is for the fine branch."""
        logits = self.logits(self.hidden(features))
        if self.fine is None:
            return logits
        if detail is None:
            raise ValueError("detail: found None, expected features of an early stage for the fine branch")
        return logits + F.pad(self.fine(detail), (0, 0, 0, 0, 0, 1))  # nothing for the dustbin


class DescriptorHead(nn.Module):
    """A 3x3 convolution, then 1x1 to D channels of unit length per cell. Source: DeTone et al. 2018, section 3.4."""

    def __init__(self, in_channels: int, hidden: int = 256, dim: int = 256) -> None:
        super().__init__()
        self.hidden = ConvBlock(in_channels, hidden)
        self.descriptor = nn.Conv2d(hidden, dim, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map features [B, C, Hc, Wc] to unit descriptors [B, D, Hc, Wc]."""
        return F.normalize(self.descriptor(self.hidden(features)), dim=1)
