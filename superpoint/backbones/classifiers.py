"""Classification networks by name: `CLASSIFIERS` maps it to a constructor(num_classes, in_channels, **options)."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from superpoint.backbones.attention import ChannelSpatialAttention, SqueezeExcitation
from superpoint.backbones.initialisation import initialise_weights
from superpoint.backbones.mobilenet import LARGE, SMALL, MobileNetV2, MobileNetV3
from superpoint.backbones.network import ClassificationNetwork
from superpoint.backbones.resnet import BasicBlock, Bottleneck, ResNet, SmallResNet
from superpoint.backbones.shufflenet import WIDTHS, ShuffleNetV2
from superpoint.backbones.small import FullyConnected, SmallNet, TwoConvolutions
from superpoint.backbones.vgg import VGG
from superpoint.errors import UserError, check_number, check_one_of

Constructor = Callable[..., ClassificationNetwork]

VGGS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E", "vgg16_1x1": "C"}
RESNETS: dict[int, tuple[type[BasicBlock], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
SMALL_DEPTHS = (8, 14, 20, 32, 44, 56, 110)  # for images of about 32x32

CLASSIFIERS: dict[str, Constructor] = {
    **{name: partial(VGG, kind) for name, kind in VGGS.items()},
    **{f"{name}_bn": partial(VGG, kind, batch_norm=True) for name, kind in VGGS.items()},
    **{f"resnet{depth}": partial(ResNet, *table) for depth, table in RESNETS.items()},
    "resnext50_32x4d": partial(ResNet, *RESNETS[50], groups=32, group_width=4),
    "resnext101_32x8d": partial(ResNet, *RESNETS[101], groups=32, group_width=8),
    "wide_resnet50_2": partial(ResNet, *RESNETS[50], group_width=128),
    "wide_resnet101_2": partial(ResNet, *RESNETS[101], group_width=128),
    **{f"se_resnet{depth}": partial(ResNet, *RESNETS[depth], attention=SqueezeExcitation) for depth in RESNETS},
    **{f"cbam_resnet{depth}": partial(ResNet, *RESNETS[depth], attention=ChannelSpatialAttention) for depth in RESNETS},
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3_large": partial(MobileNetV3, LARGE, 1280),
    "mobilenet_v3_small": partial(MobileNetV3, SMALL, 1024),
    **{f"shufflenet_v2_{size}": partial(ShuffleNetV2, size) for size in WIDTHS},
    **{f"cifar_resnet{depth}": partial(SmallResNet, depth) for depth in SMALL_DEPTHS},
    **{f"cifar_plain{depth}": partial(SmallResNet, depth, shortcut="none") for depth in SMALL_DEPTHS},
    **{"fully_connected": FullyConnected, "two_convolutions": TwoConvolutions, "small": SmallNet},
}


def build_classifier(
    name: str,
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    size: tuple[int, int] | None = None,
    init: str = "kaiming",
    seed: int = 0,
    **options: Any,
) -> ClassificationNetwork:
    """Build the network `name`, drawn from `seed` without touching the global random state.

    Args:
        name: one of CLASSIFIERS.
        in_channels: 3 for colour, 1 for grey.
        size: (height, width) of the images, for networks that take one size only; None = their own.
        init: kaiming, xavier or trunc_normal, see `initialise_weights`. The last layer is normal with a standard
            deviation of 0.01, so that the first loss is ln(num_classes).
        options: of the network's class, such as dropout=0.2, shortcut="A".

    Raises: UserError for an unknown name, scheme or option, or a number out of range.
    """
    check_one_of("model.name", name, list(CLASSIFIERS))
    check_number("num_classes", num_classes, 1)
    check_number("in_channels", in_channels, 1)
    constructor = CLASSIFIERS[name]
    parameters = inspect.signature(constructor).parameters
    own = ("num_classes", "in_channels", "size")
    known = [key for key, one in parameters.items() if one.kind is one.KEYWORD_ONLY and key not in own]
    for key in options:
        check_one_of(f"model.options of {name}", key, known or ["none"])
    if size is not None and "size" in parameters:
        options["size"] = size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = constructor(num_classes=num_classes, in_channels=in_channels, **options)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error
        initialise_weights(network, init)
        nn.init.normal_(network.output_layer()[1].weight, std=0.01)
    return network
