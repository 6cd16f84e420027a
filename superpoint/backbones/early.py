"""Networks from before VGG: LeNet-5, AlexNet, Network in Network."""

from collections.abc import Sequence

from torch import nn

from superpoint.backbones.network import ChainNetwork

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


class LeNet(ChainNetwork):
    """Two 5x5 convolutions with pooling, then 120, 84 and the classes; images from 16x16 on.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", figure 2, with ReLU and maxima
    for tanh and means, without trainable pooling, sparse C3 and radial basis outputs. 28x28 (MNIST) is padded to the
    paper's 32x32.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, *, size: tuple[int, int] = (32, 32)) -> None:
        super().__init__()
        if min(size) < 16:
            raise ValueError(f"size: found {size[0]} x {size[1]} pixels, expected at least 16 x 16")
        padding = 2 if size == (28, 28) else 0
        rows, columns = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in size)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.avgpool = nn.Identity()
        self.classifier = nn.Sequential(
            nn.Linear(16 * rows * columns, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, num_classes)
        )


class AlexNet(ChainNetwork):
    """Five convolutions, three matrices. Source: Krizhevsky 2014, arXiv 1404.5997 (torchvision's).

    dropout: before the first two matrices.
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(256 * 36, 4096), nn.ReLU(inplace=True),
            nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )  # fmt: skip


class NIN(ChainNetwork):
    """Each convolution is followed by two of 1x1 ("mlpconv"); the class maps are averaged.

    Source: Lin et al. 2014, arXiv 1312.4400, figure 2; the sizes are the authors' published models.

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
        self.classifier = nn.Identity()
