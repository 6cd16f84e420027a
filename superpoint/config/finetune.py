"""Stage `finetune`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from superpoint.config.adaptation import AdaptationConfig
from superpoint.config.export import ExportConfig
from superpoint.config.model import DecodeConfig, ModelConfig
from superpoint.config.superpoint import PairDataConfig, PairValidationConfig, SuperPointConfig
from superpoint.config.training import OptimizerConfig, ScheduleConfig, TrainConfig
from superpoint.errors import UserError, check_number


def _training() -> SuperPointConfig:
    """Short, at a low rate, and from the first sample on as hard as it gets: the network knows the task already.

    So it does where points are: labels that it is not sure of make it worse, and their places can weigh more. 300 steps
    from the `superpoint-lite` of round 3 on the photographs it was trained on, 120 generated pairs of held-out ones: of
    its matches 91.0 % are within 3 px before, 89.1 % after with all labels and a position loss of weight 1, 91.4 % with
    these (within 1 px 72.6, 71.4 and 74.4 %; README, "How well points are placed").
    """
    return SuperPointConfig(
        weights=None,
        data=PairDataConfig(curriculum=0, holdout=0.1, label_threshold=0.2),
        position=8.0,
        optimizer=OptimizerConfig(lr=2e-4),
        schedule=ScheduleConfig(warmup=0.05),
        train=TrainConfig(minutes=15, batch_size=8, ema=0.99, validate_every=250),
        validation=PairValidationConfig(pairs=40, final_pairs=80, final_images=90),
    )


@dataclass(frozen=True)
class FinetuneConfig:
    """Train on from a SuperPoint, on photographs of one's own.

    Of `training` the stage sets run, seed, weights, model, and what `data.labels` and `data.images` name; the rest is
    yours.
    """

    stage: ClassVar[str] = "finetune"

    run: str = "runs/finetuned"  # folder of labels, training and tables
    seed: int = 0
    images: str | None = None  # folder of photographs
    weights: str | None = None  # a run folder, weights or their name; None = the pretrained superpoint-lite
    labels: str | None = None  # a feature file of the photographs; None = made from `weights` by homographic adaptation
    export: ExportConfig = field(
        default_factory=lambda: ExportConfig(
            sharpen=True,
            adaptation=AdaptationConfig(homographies=30, memory=256),
            decode=DecodeConfig(max_keypoints=600),
        )
    )
    training: SuperPointConfig = field(default_factory=_training)

    def __post_init__(self) -> None:
        check_number("seed", self.seed, 0, 2**63)
        default = _training()
        for key in ("run", "seed", "weights", "model"):
            if getattr(self.training, key) != getattr(default, key):
                raise UserError(f"training.{key}: is set by this stage, from {key}; leave it out")
        if self.training.data.kind != "synthetic" or self.training.data.overfit:
            raise UserError("training.data.kind, training.data.overfit: are set by this stage; leave them out")
        if self.export.weights != ExportConfig().weights or not self.export.merge:
            raise UserError("export.weights, export.merge: are set by this stage; leave them out")
        self.of_training(ModelConfig(descriptor_dim=64), "weights", "labels", "images")  # refused now, not after labels

    def of_training(self, model: ModelConfig, weights: str, labels: str, images: str) -> SuperPointConfig:
        """The training of `model`, whose start is `weights`, on `labels` of `images`."""
        data = replace(self.training.data, kind="labelled", labels=labels, images=images)
        run = f"{self.run}/training"
        return replace(self.training, run=run, seed=self.seed, model=model, weights=weights, data=data)
