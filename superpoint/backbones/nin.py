"""Network in Network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from superpoint.backbones.network import ClassificationNetwork

# A block: convolution (channels, kernel, stride, padding), then 1x1 convolutions of these channels; pooling between
# the blocks. The classes take the place of the last 0.
Table = Sequence[tuple[int, int, int, int, tuple[int, int]]]
IMAGENET: Table = (
    (96, 11, 4, 0, (96, 96)),
    (256, 5, 1, 2, (256, 256)),
    (384, 3, 1, 1, (384, 384)),
    (1024, 3, 1, 1, (1024, 0)),
)
CIFAR: Table = ((192, 5, 1, 2, (160, 96)), (192, 5, 1, 2, (192, 192)), (192, 3, 1, 1, (192, 0)))


class NIN(ClassificationNetwork):
    """Every convolution is followed by two of 1x1 ("mlpconv"); the class maps are averaged, without a matrix.

    Source: Lin et al. 2014, arXiv 1312.4400, figure 2; the sizes are those of the authors' published models.

    Args:
        table: IMAGENET or CIFAR (images of about 32x32).
        dropout: behind each pooling but, of IMAGENET, the first two.
    """

    def __init__(
        self, table: Table = IMAGENET, num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for index, (width, kernel, stride, padding, mixing) in enumerate(table):
            if index:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
                layers += [nn.Dropout(dropout)] if index >= len(table) - (2 if table is CIFAR else 1) else []
            layers += [nn.Conv2d(channels, width, kernel, stride, padding), nn.ReLU(inplace=True)]
            channels = width
            for following in mixing:
                layers += [nn.Conv2d(channels, following or num_classes, 1), nn.ReLU(inplace=True)]
                channels = following
        self.features = nn.Sequential(*layers[:-1])  # no ReLU on the class maps: logits may be negative
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.avgpool(self.features(image)).flatten(1)
