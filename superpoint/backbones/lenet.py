"""LeNet-5, the first convolutional network in wide use."""

from __future__ import annotations

import torch
from torch import nn

from superpoint.backbones.network import ClassificationNetwork
from superpoint.errors import check_one_of


class LeNet(ClassificationNetwork):
    """Two 5x5 convolutions with pooling, then 120, 84 and the classes.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", figure 2. Its trainable
    pooling, sparse C3 and radial basis outputs are left out, as everybody does: 61,706 parameters with one channel and
    ten classes. The paper's activation and pooling are "tanh" and "mean".

    Args:
        image_size: side of the square images; those of 28 (MNIST) are padded to the paper's 32.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        *,
        image_size: int = 32,
        activation: str = "relu",
        pooling: str = "max",
    ) -> None:
        super().__init__()
        check_one_of("activation", activation, ("relu", "tanh"))
        check_one_of("pooling", pooling, ("max", "mean"))
        if image_size < 16:
            raise ValueError(f"image_size: found {image_size}, expected at least 16")
        act = nn.ReLU if activation == "relu" else nn.Tanh
        pool = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
        padding = 2 if image_size == 28 else 0
        side = ((image_size + 2 * padding - 4) // 2 - 4) // 2
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=padding), act(), pool(2),
            nn.Conv2d(6, 16, 5), act(), pool(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(16 * side * side, 120), act(), nn.Linear(120, 84), act(), nn.Linear(84, num_classes)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(image).flatten(1))
