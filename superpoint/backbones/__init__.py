"""Encoders: image [B, channels, H, W] -> features [B, C, H / 8, W / 8]. Each has `stages` and `out_channels`."""

from collections.abc import Callable
from functools import partial

from torch import nn

from superpoint.backbones.encoders import ENCODER_NAMES, TrunkEncoder
from superpoint.backbones.vgg import CompactEncoder, OriginalEncoder, VGGEncoder

# name -> constructor(channels=1); the name is what `model.encoder` says
ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "vgg": partial(VGGEncoder, (64, 64, 128, 128)),  # the paper's: 64-64, 64-64, 128-128, 128-128
    # For CPUs, 3.6 times fewer operations. A first stage of 16 needs more than twice as many steps.
    "lite": partial(VGGEncoder, (32, 32, 64, 128)),
    "compact": CompactEncoder,  # for CPUs, without maps as large as the image
    "vgg-original": OriginalEncoder,  # of converted weights, see `interop.weights`
    **{name: partial(TrunkEncoder, name) for name in ENCODER_NAMES},
}
