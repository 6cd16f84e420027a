"""AlexNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from superpoint.backbones.network import ClassificationNetwork


class AlexNet(ClassificationNetwork):
    """Five convolutions, three matrices.

    Source: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997
    (torchvision's). The widths (96, 256, 384, 384, 256) with groups (1, 2, 1, 2, 2), `lrn` and overlapping pooling are
    Krizhevsky, Sutskever, Hinton 2012.

    Args:
        widths, groups: of the five convolutions.
        lrn: local response normalisation behind the first two ReLUs (2012, section 3.3: n 5, k 2, alpha 1e-4, beta
            0.75; PyTorch divides alpha by n, the paper does not).
        overlapping: pooling 3x3 at stride 2 (2012, section 3.4), else 2x2.
        dropout: before the first two matrices.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        widths: Sequence[int] = (64, 192, 384, 256, 256),
        groups: Sequence[int] = (1, 1, 1, 1, 1),
        lrn: bool = False,
        overlapping: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()

        def rectifier(normalise: bool) -> nn.Module:  # one module, so that the indices stay torchvision's
            if not (lrn and normalise):
                return nn.ReLU(inplace=True)
            return nn.Sequential(nn.ReLU(inplace=True), nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))

        def pool() -> nn.Module:
            return nn.MaxPool2d(3 if overlapping else 2, 2)

        a, b, c, d, e = widths
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, a, 11, 4, 2, groups=groups[0]), rectifier(True), pool(),
            nn.Conv2d(a, b, 5, 1, 2, groups=groups[1]), rectifier(True), pool(),
            nn.Conv2d(b, c, 3, 1, 1, groups=groups[2]), rectifier(False),
            nn.Conv2d(c, d, 3, 1, 1, groups=groups[3]), rectifier(False),
            nn.Conv2d(d, e, 3, 1, 1, groups=groups[4]), rectifier(False), pool(),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(e * 36, 4096), nn.ReLU(inplace=True),
            nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )  # fmt: skip

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.avgpool(self.features(image)).flatten(1))
