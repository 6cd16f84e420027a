"""GoogLeNet (Inception v1) with batch norm."""

import torch
import torch.nn.functional as F
from torch import nn

from superpoint.backbones.network import IMAGENET_MEAN, IMAGENET_STD, ClassificationNetwork

# Table 1: input channels, then #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
INCEPTIONS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


class Convolution(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """Four branches side by side: 1x1; twice 1x1 and 3x3; pooling and 1x1.

    Source: figure 2b, with 3x3 kernels where the paper has 5x5, as torchvision.
    """

    def __init__(self, channels: int, b1: int, reduce3: int, b3: int, reduce5: int, b5: int, pooled: int) -> None:
        super().__init__()
        self.branch1 = Convolution(channels, b1)
        self.branch2 = nn.Sequential(Convolution(channels, reduce3), Convolution(reduce3, b3, 3))
        self.branch3 = nn.Sequential(Convolution(channels, reduce5), Convolution(reduce5, b5, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), Convolution(channels, pooled))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), 1)


class GoogLeNet(ClassificationNetwork):
    """Nine inception blocks. Source: Szegedy et al. 2015, arXiv 1409.4842, table 1, without auxiliary classifiers.

    Args:
        transform_input: bring images from ImageNet's mean and spread to (x - 0.5) / 0.5, as torchvision's checkpoint
            expects.
        dropout: before the last layer.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        transform_input: bool = False,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if transform_input and in_channels != 3:
            raise ValueError(f"transform_input: found images of {in_channels} channels, expected 3")
        self.transform_input = transform_input
        self.conv1 = Convolution(in_channels, 64, 7, 2)
        self.conv2 = Convolution(64, 64)
        self.conv3 = Convolution(64, 192, 3)
        for name, widths in INCEPTIONS.items():
            self.add_module(f"inception{name}", Inception(*widths))
        self.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self._normalise(image) if self.transform_input else image
        x = self.conv3(self.conv2(self.maxpool(self.conv1(x))))
        for name in INCEPTIONS:
            if name in ("3a", "4a"):
                x = self.maxpool(x)
            x = self.get_submodule(f"inception{name}")(x)
            if name == "4e":
                x = self.maxpool4(x)
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))

    @staticmethod
    def _normalise(image: torch.Tensor) -> torch.Tensor:
        mean, spread = image.new_tensor((IMAGENET_MEAN, IMAGENET_STD))[:, :, None, None]
        return image * (spread / 0.5) + (mean - 0.5) / 0.5
