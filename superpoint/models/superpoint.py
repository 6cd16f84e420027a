"""The network: an encoder, a detector head, and a descriptor head or none (MagicPoint)."""

from __future__ import annotations

import torch
from torch import nn

from superpoint.backbones import ENCODERS
from superpoint.config import ModelConfig
from superpoint.errors import UserError
from superpoint.geometry.cells import CELL
from superpoint.models.heads import DescriptorHead, DetectorHead


class SuperPoint(nn.Module):
    """Image in, detector logits and descriptors out, in one pass.

    MagicPoint is this network with `descriptor=None`: an absent head, not one with weight zero, whose parameters
    would have no gradient and stop distributed training.
    Source: DeTone, Malisiewicz, Rabinovich 2018, arXiv 1712.07629, section 3.
    """

    def __init__(self, encoder: nn.Module, detector: DetectorHead, descriptor: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.detector = detector
        self.descriptor = descriptor

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Args: image [B, 1, H, W], float, 0..1, sides multiples of 8 (`models.decode.pad_to_multiple`).

        Returns: "logits" [B, 65, H / 8, W / 8] and, with a descriptor head, "descriptors" [B, D, H / 8, W / 8] of unit
        length. Under autocast both are half precision; `.float()` them where they enter a loss or the decoder.
        """
        if image.dim() != 4 or image.shape[1] != 1 or image.shape[2] % CELL or image.shape[3] % CELL:
            raise ValueError(
                f"image: found shape {list(image.shape)}, expected [B, 1, H, W], sides multiples of {CELL}"
            )
        # Centred, with a spread near 1, so that the first layer starts in the range its initialisation assumes.
        features = self.encoder((image - 0.5) * 4)
        output = {"logits": self.detector(features)}
        if self.descriptor is not None:
            output["descriptors"] = self.descriptor(features)
        return output


def initialise(model: nn.Module, scheme: str) -> None:
    """Set every weight by `scheme`: kaiming (He et al. 2015), xavier (Glorot, Bengio 2010), trunc_normal (std 0.02).

    Biases are 0, norms 1 and 0. The last layer of the detector gets a standard deviation of 0.01, so that all 65
    classes start equally likely and the first loss is ln 65.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            if scheme == "kaiming":
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif scheme == "xavier":
                nn.init.xavier_uniform_(module.weight)
            elif scheme == "trunc_normal":
                nn.init.trunc_normal_(module.weight, std=0.02)
            else:
                raise ValueError(f"scheme: found '{scheme}', expected kaiming, xavier or trunc_normal")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, DetectorHead):
            nn.init.normal_(module.logits.weight, std=0.01)


def build_model(config: ModelConfig, seed: int = 0) -> SuperPoint:
    """The network of a configuration, initialised from `seed` without touching the global random state."""
    if config.encoder not in ENCODERS:
        raise UserError(f"model.encoder: found '{config.encoder}', expected one of {', '.join(ENCODERS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = ENCODERS[config.encoder]()
        channels = encoder.out_channels
        descriptor = None
        if config.descriptor_dim:
            descriptor = DescriptorHead(channels, config.head_channels, config.descriptor_dim)
        model = SuperPoint(encoder, DetectorHead(channels, config.head_channels), descriptor)
        initialise(model, config.init)
    return model
