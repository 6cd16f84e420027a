"""Small networks for studies: a matrix with one hidden layer, two convolutions, eight convolutions."""

from torch import nn

from superpoint.backbones.network import ChainNetwork

HIDDEN = 784
WIDTHS = (32, 64, 128, 256)


class FullyConnected(ChainNetwork):
    """One hidden layer of 784 units, for images of one size."""

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, *, size: tuple[int, int] = (28, 28), dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.features, self.avgpool = nn.Sequential(), nn.Identity()
        hidden = nn.Linear(in_channels * size[0] * size[1], HIDDEN)
        self.classifier = nn.Sequential(
            hidden, nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(HIDDEN, num_classes)
        )


class TwoConvolutions(ChainNetwork):
    """Two 3x3 convolutions to 8 and 16 channels, with ReLU and 2x2 pooling, and a matrix; for images of one size."""

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, *, size: tuple[int, int] = (28, 28), dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        )  # fmt: skip
        self.avgpool = nn.Identity()
        features = 16 * (size[0] // 4) * (size[1] // 4)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, num_classes))


class SmallNet(ChainNetwork):
    """Four pairs of 3x3 convolutions, 32-64-128-256 channels wide, with pooling between, then a global average.

    1.17 M parameters, 0.2 GFLOPs at 64 x 64; for images from 32 x 32 on.
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, *, batch_norm: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        stages, channels = [], in_channels
        for width in WIDTHS:
            layers: list[nn.Module] = [] if not stages else [nn.MaxPool2d(2)]
            for _ in range(2):
                layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm))
                layers += [nn.BatchNorm2d(width)] if batch_norm else []
                layers.append(nn.ReLU(inplace=True))
                channels = width
            stages.append(nn.Sequential(*layers))
        self.features = nn.Sequential(*stages)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
