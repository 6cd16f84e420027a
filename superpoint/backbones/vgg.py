"""VGG: the networks of Simonyan and Zisserman, and the VGG-style encoder of SuperPoint."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from superpoint.backbones.network import ChainNetwork, ConvNorm

# Configurations of table 1: output channels of the 3x3 convolutions of each of the five stages; 1x1 ones are negative.
CONFIGURATIONS = {
    "A": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "B": ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    "C": ((64, 64), (128, 128), (256, 256, -256), (512, 512, -512), (512, 512, -512)),
    "D": ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    "E": ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}
ORIGINAL_EPS = 1e-3  # of the batch norms in the open re-implementation of SuperPoint; TensorFlow's default


class ConvBlock(ConvNorm):
    """3x3 convolution, batch norm, ReLU. The convolution has no bias: the norm's shift is one."""


class PooledStages(nn.Module):
    """Stages with 2x2 max-pooling between them, image [B, channels, H, W] -> features [B, C, H / 8, W / 8].

    `widths` are the channels of the stages, `strides` the pixels between the values that each puts out.
    """

    def __init__(self, stages: Sequence[nn.Module], widths: Sequence[int], first_stride: int = 1) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.pool = nn.MaxPool2d(2)
        self.widths, self.out_channels = list(widths), widths[-1]
        self.strides = [first_stride * 2**index for index in range(len(widths))]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.with_detail(image)[0]

    def with_detail(self, image: torch.Tensor, stage: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features, and the output of a stage: [B, widths[stage], H / strides[stage], ...]."""
        outputs = [self.stages[0](image)]
        for each in list(self.stages)[1:]:
            outputs.append(each(self.pool(outputs[-1])))
        return outputs[-1], outputs[stage]


class VGGEncoder(PooledStages):
    """Four stages of two 3x3 convolutions with 2x2 max-pooling between them: stride 8.

    Source: DeTone et al. 2018, section 3.2 and appendix (64-64-64-64-128-128-128-128).
    """

    def __init__(self, widths: Sequence[int] = (64, 64, 128, 128), channels: int = 1) -> None:
        super().__init__(_stages(channels, widths), widths)


class CompactEncoder(PooledStages):
    """Three stages of two 3x3 convolutions, the first of which begins with 2x2 pixels as channels: stride 8.

    At half the size a channel costs a quarter, and the rearrangement (the inverse of Shi et al. 2016, arXiv 1609.05158)
    loses nothing. With the detector head 2.1 instead of 3.6 GFLOP for 240x320 (docs/guides/backbones.md).
    """

    def __init__(self, channels: int = 1) -> None:
        start = nn.Sequential(nn.PixelUnshuffle(2), ConvBlock(4 * channels, 32), ConvBlock(32, 48))
        super().__init__([start, *_stages(48, (64, 128))], (48, 64, 128), first_stride=2)


def _stages(in_channels: int, widths: Sequence[int]) -> list[nn.Module]:
    pairs = pairwise([in_channels, *widths])
    return [nn.Sequential(ConvBlock(before, width), ConvBlock(width, width)) for before, width in pairs]


class OriginalEncoder(VGGEncoder):
    """The encoder of the published SuperPoint weights: batch norms behind the ReLUs, grey levels of 0..1.

    Neither difference can be folded into the usual encoder's weights: its zero padding means another grey level.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        widths = [channels, 64, 64, 64, 64, 128, 128, 128, 128]
        blocks = [
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(after, eps=ORIGINAL_EPS)
            )
            for before, after in pairwise(widths)
        ]
        self.stages = nn.ModuleList(nn.Sequential(*blocks[index : index + 2]) for index in range(0, 8, 2))

    def with_detail(self, image: torch.Tensor, stage: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """See `VGGEncoder.with_detail`. Undoes the centring of `SuperPoint.forward`."""
        return super().with_detail(image / 4 + 0.5, stage)


class VGG(ChainNetwork):
    """Five stages of convolutions with a pooling behind each, three matrices.

    Source: Simonyan, Zisserman 2015, arXiv 1409.1556, table 1; batch norm (Ioffe, Szegedy 2015) came later.

    Args:
        configuration: A, B, C, D or E: 11, 13, 16 (with 1x1 convolutions), 16 or 19 layers.
        batch_norm: behind every convolution, which keeps its bias as in torchvision's checkpoints.
        dropout: before the second and the third matrix.
    """

    def __init__(
        self,
        configuration: str,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in CONFIGURATIONS[configuration]:
            for width in stage:
                kernel = 3 if width > 0 else 1
                layers.append(nn.Conv2d(channels, abs(width), kernel, padding=kernel // 2))
                layers += [nn.BatchNorm2d(abs(width))] if batch_norm else []
                layers.append(nn.ReLU(inplace=True))
                channels = abs(width)
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(channels * 49, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )  # fmt: skip
