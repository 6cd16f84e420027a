"""The encoder of the published SuperPoint weights, for weights that come from there."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from superpoint.backbones.vgg import VGGEncoder

EPS = 1e-3  # of the batch norms in the open re-implementation; TensorFlow's default


class OriginalBlock(nn.Sequential):
    """3x3 convolution with a bias, ReLU, and a batch norm behind the ReLU.

    The weights of the paper's authors have no batch norm; theirs is the identity (`interop.weights`).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(out_channels, eps=EPS),
        )


class OriginalEncoder(VGGEncoder):
    """`VGGEncoder` with `OriginalBlock`s, on grey levels of 0..1.

    Neither the order of norm and ReLU nor the range of the input can be folded into the weights of the usual encoder:
    zeros that a convolution pads with would stand for something else, and all points within 70 px of the edge change.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = [1, 64, 64, 64, 64, 128, 128, 128, 128]
        blocks = [OriginalBlock(*pair) for pair in pairwise(channels)]
        self.stages = nn.ModuleList(nn.Sequential(*blocks[index : index + 2]) for index in range(0, 8, 2))

    def with_detail(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `VGGEncoder.with_detail`. Undoes the centring that `SuperPoint.forward` does for every encoder."""
        return super().with_detail(image / 4 + 0.5)
