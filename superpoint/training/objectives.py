"""What a training step minimises: from a batch and a model to a loss and the figures worth logging."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from superpoint.config import DescriptorLossConfig, MagicPointConfig, SuperPointConfig
from superpoint.geometry.cells import CELL, CHANNELS, DUSTBIN
from superpoint.losses import dense_hinge_loss, detector_loss, dual_softmax_loss, position_loss
from superpoint.models.decode import interpolate_descriptors, logits_to_probability
from superpoint.models.heads import DetectorHead

NEAR = 8.0  # pixels: a cell
SMALLEST = 0.02  # of a descriptor loss that is balanced: below, it is learnt, and no longer scaled up


@dataclass(frozen=True)
class DetectorObjective:
    """The detector loss on a batch of samples; an `engine.loop.Objective`.

    Weighting cells with a keypoint w times would teach odds w times too high, and detections would crowd along the
    borders of cells. So the loss sees the dustbin's logit lowered by log w (logit adjustment, Menon et al. 2021): the
    network itself puts out true probabilities.
    """

    positive_weight: float = 1.0

    @property
    def dustbin_shift(self) -> float:
        """Return log w."""
        return math.log(self.positive_weight)

    def initialise(self, detector: DetectorHead) -> None:
        """Set the dustbin's bias so that the first loss is ln 65 whatever the weights."""
        with torch.no_grad():
            detector.logits.get_parameter("bias")[DUSTBIN] = self.dustbin_shift

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the loss on image uint8 [B, C, H, W], target int64 and valid bool [B, H / 8, W / 8].

        Returns: loss; weight, the sum it was divided by; recall, the share of cells with a keypoint whose dustbin has
        less than half of the probability; dustbin, its mean probability.
        """
        logits = model(batch["image"].float() / 255)["logits"]
        return self.of_logits(logits, batch["target"], batch["valid"])

    def of_logits(self, logits: Tensor, target: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Compute the same from logits [B, 65, H / 8, W / 8] of any floating type."""
        logits = logits.float()
        shift = torch.zeros(CHANNELS, device=logits.device)
        shift[DUSTBIN] = -self.dustbin_shift
        seen = logits + shift[:, None, None]
        loss, weight = detector_loss(seen, target, valid, self.positive_weight)
        with torch.no_grad():
            dustbin = torch.exp(logits[:, DUSTBIN] - torch.logsumexp(logits, dim=1))
            positive = (target != DUSTBIN) & valid
            recall = ((dustbin < 0.5) & positive).sum() / positive.sum().clamp_min(1)
            mean = (dustbin * valid).sum() / valid.sum().clamp_min(1)
        return {"loss": loss, "weight": weight, "recall": recall, "dustbin": mean}


def detector_objective(config: MagicPointConfig) -> DetectorObjective:
    """Return the detector's objective with the `loss` weights of `config`."""
    return DetectorObjective(config.loss.positive_weight)


@dataclass(frozen=True)
class JointObjective:
    """Detector and descriptor loss on a batch of pairs (`data.warped_pairs.WarpedPairs`), in one pass of both views.

    The loss is detector + weight * descriptor + position * `position_loss`. With balance "auto" the descriptor's part
    is scaled in every batch to the size of the detector's: the uncertainty weighting of Kendall et al. 2018 at its
    optimum for the batch, without state.
    """

    detector: DetectorObjective = field(default_factory=DetectorObjective)
    descriptor: DescriptorLossConfig = field(default_factory=DescriptorLossConfig)
    position: float = 0.0  # 0 = without

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the loss on a batch of pairs.

        Returns: what `DetectorObjective` and `descriptor_statistics` return, and the loss of each part.
        """
        both = {key: torch.cat([batch[f"{key}_a"], batch[f"{key}_b"]]) for key in ("image", "target", "valid")}
        output = model(both["image"].float() / 255)
        found = self.detector.of_logits(output["logits"], both["target"], both["valid"])
        # In bf16 a similarity errs by 0.004, times 1 / temperature; autocast would round products of `.float()` too.
        with torch.autocast(output["descriptors"].device.type, enabled=False):
            part, statistics = self._of_descriptors(output["descriptors"].float(), batch)
        detector, share = found["loss"], self.descriptor.weight
        if self.descriptor.balance == "auto":
            share = share * detector.detach() / part.detach().clamp_min(SMALLEST)
        losses = {"loss": detector + share * part, "detector_loss": detector.detach(), "descriptor_loss": part.detach()}
        if self.position:
            apart = self._of_positions(output["logits"], both["valid"], batch["h_a_b"])
            losses |= {"loss": losses["loss"] + self.position * apart, "position_loss": apart.detach()}
        return found | losses | statistics

    def _of_positions(self, logits: Tensor, valid: Tensor, h_a_b: Tensor) -> Tensor:
        """Position loss of logits [2 B, 65, H / 8, W / 8], first views first."""
        pixels = valid.repeat_interleave(CELL, dim=1).repeat_interleave(CELL, dim=2)
        (map_a, map_b), (mask_a, mask_b) = logits_to_probability(logits).chunk(2), pixels.chunk(2)
        return position_loss(map_a, map_b, h_a_b, mask_a, mask_b)[0]

    def _of_descriptors(self, maps: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and statistics of descriptors [2 B, D, H / 8, W / 8], first views first."""
        map_a, map_b = maps.chunk(2)
        points = batch["correspondences_a"], batch["correspondences_b"], batch["matched"]
        sampled = interpolate_descriptors(map_a, points[0]), interpolate_descriptors(map_b, points[1])
        loss = self.descriptor
        if loss.name == "dense_hinge":
            names = ("positive_margin", "negative_margin", "positive_weight", "radius")
            cells = {name: getattr(loss, name) for name in names}
            part, _ = dense_hinge_loss(map_a, map_b, batch["h_a_b"], batch["valid_a"], batch["valid_b"], **cells)
        else:
            part, _ = dual_softmax_loss(*sampled, *points, temperature=loss.temperature, exclusion=loss.radius)
        return part, descriptor_statistics(*sampled, *points)


def joint_objective(config: SuperPointConfig) -> JointObjective:
    """Return the objective of `config`; without the position loss, noise at first, if pairs are overfitted."""
    position = 0.0 if config.data.overfit else config.position
    return JointObjective(detector_objective(config), config.descriptor, position)


def weighted_means(outputs: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Return the means, by "weight", of what an objective returned for some batches."""
    weights = [float(output["weight"]) for output in outputs]
    total = sum(weights) or 1.0
    return {
        key: sum(float(output[key]) * weight for output, weight in zip(outputs, weights, strict=True)) / total
        for key in outputs[0]
        if key != "weight"
    }


@torch.no_grad()
def descriptor_statistics(
    descriptors_a: Tensor, descriptors_b: Tensor, points_a: Tensor, points_b: Tensor, valid: Tensor
) -> dict[str, Tensor]:
    """Compute how well descriptors [B, K, D] of correspondences [B, K, 2] tell them apart; `valid` bool [B, K].

    Returns scalars:
        positive_similarity: mean cosine of the two descriptors of a correspondence.
        negative_similarity: mean cosine of descriptors more than NEAR px apart.
        hardest_negative: mean over correspondences of the largest of these.
        matching_accuracy: share of the correspondences whose nearest descriptor in the other view lies within NEAR px
            of the right one, mean of both directions.
        collapse: mean cosine of descriptors of different images; 1 = all are the same; 0 for one image.
    """
    first, second = descriptors_a.float(), descriptors_b.float()
    similarity = first @ second.transpose(1, 2)  # [B, K, K]
    count = valid.sum().clamp_min(1)
    offered = valid[:, :, None] & valid[:, None, :]
    near_a, near_b = (torch.cdist(points, points) <= NEAR for points in (points_a.float(), points_b.float()))
    wrong = offered & ~near_a & ~near_b
    positive = similarity.diagonal(dim1=1, dim2=2)
    hardest = similarity.masked_fill(~wrong, -1.0).amax(dim=2)
    open_to = similarity.masked_fill(~offered, -2.0)
    right_b = near_b.gather(2, open_to.argmax(dim=2, keepdim=True)).squeeze(2)
    right_a = near_a.gather(2, open_to.argmax(dim=1)[:, :, None]).squeeze(2)
    sums = (first * valid[:, :, None]).sum(dim=1)  # [B, D]
    counts = valid.sum(dim=1).float()
    across = sums.sum(dim=0).square().sum() - sums.square().sum()  # pairs of different images, either way round
    pairs = counts.sum().square() - counts.square().sum()
    return {
        "positive_similarity": (positive * valid).sum() / count,
        "negative_similarity": (similarity * wrong).sum() / wrong.sum().clamp_min(1),
        "hardest_negative": (hardest * valid).sum() / count,
        "matching_accuracy": ((right_a & valid).sum() + (right_b & valid).sum()) / (2 * count),
        "collapse": across / pairs.clamp_min(1),
    }
