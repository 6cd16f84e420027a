"""What a training step minimises: from a batch and a model to a loss and the figures worth logging."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from superpoint.geometry.cells import CHANNELS, DUSTBIN
from superpoint.losses import detector_loss
from superpoint.models.heads import DetectorHead


@dataclass(frozen=True)
class DetectorObjective:
    """The detector loss on a batch of samples, as `engine.loop.train` calls it.

    Weighting cells with a point w times would teach the network odds that are w times too high. That is not only a
    matter of thresholds: where a corner is certain the 64 pixels add up to 1 either way, but where it may as well lie
    in the next cell both cells overstate it, so that detections crowd along the borders of the 8x8 cells. The loss is
    therefore taken on logits whose dustbin is lowered by log w (as in the logit adjustment of Menon et al. 2021):
    the gradients are those of the weighted loss, and what the network itself puts out are true probabilities.
    """

    positive_weight: float = 1.0
    dustbin_weight: float = 1.0
    focal_gamma: float = 0.0

    @property
    def dustbin_shift(self) -> float:
        """By how much the loss sees the dustbin's logit lowered: log w."""
        return math.log(self.positive_weight / self.dustbin_weight)

    def initialise(self, detector: DetectorHead) -> None:
        """Start at even odds as the loss sees them, so that its first value is ln 65 whatever the weights."""
        with torch.no_grad():
            detector.logits.get_parameter("bias")[DUSTBIN] = self.dustbin_shift

    def __call__(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Args: batch with image uint8 [B, 1, H, W], target int64 and valid bool [B, H / 8, W / 8].

        Returns: loss; weight, the sum it was divided by; positive_recall, the share of cells with a point in which the
        network puts less than half of its probability in the dustbin; dustbin, the dustbin's mean probability.
        """
        target, valid = batch["target"], batch["valid"]
        logits = model(batch["image"].float() / 255)["logits"].float()
        shift = torch.zeros(CHANNELS, device=logits.device)
        shift[DUSTBIN] = -self.dustbin_shift
        seen = logits + shift[:, None, None]
        loss, weight = detector_loss(seen, target, valid, self.positive_weight, self.dustbin_weight, self.focal_gamma)
        with torch.no_grad():
            dustbin = torch.exp(logits[:, DUSTBIN] - torch.logsumexp(logits, dim=1))
            positive = (target != DUSTBIN) & valid
            recall = ((dustbin < 0.5) & positive).sum() / positive.sum().clamp_min(1)
            mean = (dustbin * valid).sum() / valid.sum().clamp_min(1)
        return {"loss": loss, "weight": weight, "positive_recall": recall, "dustbin": mean}
