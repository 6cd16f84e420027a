"""The network: an encoder, a detector head, and a descriptor head or none (MagicPoint)."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from superpoint.backbones import ENCODERS
from superpoint.backbones.encoders import TrunkEncoder
from superpoint.backbones.initialisation import initialise_weights
from superpoint.backbones.pretrained import GREY_CENTRE, GREY_GAIN, load_encoder
from superpoint.backbones.vgg import PooledStages
from superpoint.config import ModelConfig
from superpoint.errors import check_number, check_one_of
from superpoint.geometry.cells import CELL
from superpoint.models.heads import DescriptorHead, DetectorHead, FineBranch


class SuperPoint(nn.Module):
    """Image in, detector logits and descriptors out, in one pass; MagicPoint without a descriptor head.

    Source: DeTone, Malisiewicz, Rabinovich 2018, arXiv 1712.07629, section 3.

    Args:
        centring: give the encoder (grey - 0.5) * 4: centred, with a spread near 1, so that the first layer starts in
            the range its initialisation assumes. Else it gets the grey levels 0..1, as the paper's.
    """

    def __init__(
        self,
        encoder: nn.Module,
        detector: DetectorHead,
        descriptor: nn.Module | None = None,
        *,
        centring: bool = True,
        channels: int = 1,
    ) -> None:
        super().__init__()
        self.centring, self.channels = centring, channels
        self.encoder = encoder
        self.detector = detector
        self.descriptor = descriptor
        self._frozen: list[nn.Module] = []

    def freeze_encoder(self, stages: int) -> None:
        """Freeze the first `stages` stages of the encoder (-1 = all). Raises: UserError if it has fewer."""
        parts = list(cast(nn.ModuleList, self.encoder.stages))
        check_number("model.freeze_encoder", stages, -1, len(parts))
        self._frozen = [self.encoder] if stages == -1 else parts[:stages]
        for module in self._frozen:
            module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> SuperPoint:
        """Set the mode of all modules but the frozen ones."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map images [B, channels, H, W], float, 0..1, sides multiples of 8 (`models.decode.pad_to_multiple`).

        Returns: "logits" [B, 65, H / 8, W / 8] and, with a descriptor head, "descriptors" [B, D, H / 8, W / 8] of unit
        length. Under autocast both are half precision; `.float()` them where they enter a loss or the decoder.
        """
        if image.dim() != 4 or image.shape[1] != self.channels or image.shape[2] % CELL or image.shape[3] % CELL:
            expected = f"[B, {self.channels}, H, W], sides multiples of {CELL}"
            raise ValueError(f"image: found shape {list(image.shape)}, expected {expected}")
        if self.centring:
            image = (image - GREY_CENTRE) * GREY_GAIN
        if self.detector.fine is None:
            features = self.encoder(image)
            output = {"logits": self.detector(features)}
        else:
            features, detail = cast(PooledStages, self.encoder).with_detail(image, self.detector.fine.stage)
            output = {"logits": self.detector(features, detail)}
        if self.descriptor is not None:
            output["descriptors"] = self.descriptor(features)
        return output


def initialise(model: nn.Module, scheme: str) -> None:
    """Set every weight by `scheme`, see `initialise_weights`.

    The detector's last layer starts near 0, so that the first loss is ln 65.
    """
    initialise_weights(model, scheme)
    for module in model.modules():
        if isinstance(module, DetectorHead):
            nn.init.normal_(module.logits.weight, std=0.01)
            if module.fine is not None:
                nn.init.zeros_(module.fine.logit.weight)


def build_model(config: ModelConfig, seed: int = 0, *, pretrained: bool = True) -> SuperPoint:
    """Build the network of a configuration, initialised from `seed` without touching the global random state.

    Args:
        pretrained: fill the encoder from `config.encoder_weights`; False where all weights are replaced later.

    Raises: UserError for an unknown encoder, or weights that do not fit it.
    """
    check_one_of("model.encoder", config.encoder, list(ENCODERS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        plan = {} if config.encoder_plan is None else {"plan": config.encoder_plan}
        encoder = ENCODERS[config.encoder](channels=config.channels, **plan)
        width = cast(int, encoder.out_channels)
        descriptor = None
        if config.descriptor_dim:
            descriptor = DescriptorHead(width, config.head_channels, config.descriptor_dim)
        fine = None
        if config.fine:
            detailed = cast(PooledStages, encoder)
            stage = next(index for index, stride in enumerate(detailed.strides) if stride >= config.fine_stride)
            fine = FineBranch(detailed.widths[stage], config.fine, detailed.strides[stage], stage)
        detector = DetectorHead(width, config.head_channels, fine)
        model = SuperPoint(encoder, detector, descriptor, centring=config.centring, channels=config.channels)
        initialise(model, config.init)
    if config.encoder_weights is not None and pretrained:
        load_encoder(cast(TrunkEncoder, encoder), config.encoder_weights)
    if config.freeze_encoder is not None:
        model.freeze_encoder(config.freeze_encoder)
    return model
