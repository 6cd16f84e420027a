"""Networks from before VGG: LeNet-5, AlexNet, Network in Network."""

from collections.abc import Sequence

from torch import nn

from superpoint.backbones.network import ChainNetwork
from superpoint.errors import check_one_of

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
    """Two 5x5 convolutions with pooling, then 120, 84 and the classes.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", figure 2, without trainable
    pooling, sparse C3 and radial basis outputs. The paper's activation and pooling are "tanh" and "mean".

    Args:
        image_size: side of the square images; 28 (MNIST) is padded to the paper's 32.
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
        self.avgpool = nn.Identity()
        self.classifier = nn.Sequential(
            nn.Linear(16 * side * side, 120), act(), nn.Linear(120, 84), act(), nn.Linear(84, num_classes)
        )


class AlexNet(ChainNetwork):
    """Five convolutions, three matrices.

    Source: Krizhevsky 2014, arXiv 1404.5997 (torchvision's). The widths (96, 256, 384, 384, 256) with groups
    (1, 2, 1, 2, 2), `lrn` and overlapping pooling are Krizhevsky, Sutskever, Hinton 2012.

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
