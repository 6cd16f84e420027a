"""Encoders: image [B, 1, H, W] -> features [B, C, H / 8, W / 8]. Each has `out_channels`."""

from superpoint.backbones.vgg import VGGEncoder

# name -> constructor; the name is what `model.encoder` says
ENCODERS = {
    "vgg": lambda: VGGEncoder((64, 64, 128, 128)),  # the paper's: 64-64, 64-64, 128-128, 128-128
    # For CPUs, 3.6 times fewer operations. Half as wide (16) in the first stage it needs more than twice as many steps
    # to the same loss: what is lost before the first pooling is lost.
    "lite": lambda: VGGEncoder((32, 32, 64, 128)),
}
