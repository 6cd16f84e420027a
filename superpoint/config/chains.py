"""Stages `finetune`, `adapt` and `pipeline`: recipes of several steps, each step with a configuration of its own.

A recipe sets what joins its steps (run folders, seed, weights, labels, images, network); its sections leave that out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.config.inference import MODEL
from superpoint.config.labelling import AdaptationConfig, LabellingConfig
from superpoint.config.model import DecodeConfig, ModelConfig
from superpoint.config.superpoint import PairDataConfig, PairValidationConfig, SuperPointConfig
from superpoint.config.training import MagicPointConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from superpoint.errors import UserError, check_number

Training = TypeVar("Training", bound=MagicPointConfig)

STAGES = ("magicpoint", "labels", "superpoint", "evaluation")  # of a pipeline, in their order; names of their folders


@dataclass(frozen=True)
class ChainConfig:
    """What all recipes of several steps have."""

    stage: ClassVar[str]

    run: str = "runs/chain"  # folder of all steps
    seed: int = 0  # of all trainings
    images: str | None = None  # folder of photographs
    masks: str | None = None  # folder of their masks, for labels, training and evaluation; 0 = ignore

    def __post_init__(self) -> None:
        check_number("seed", self.seed, 0, 2**63)

    def _labelled(self, training: Training, name: str, weights: str | None, labels: str, images: str) -> Training:
        """Return the training in the folder `name`, from `weights` and on `labels` of `images`."""
        data = replace(training.data, kind="labelled", labels=labels, images=images, masks=self.masks)
        return replace(training, run=f"{self.run}/{name}", seed=self.seed, weights=weights, data=data)


@dataclass(frozen=True)
class AdaptConfig(ChainConfig):
    """Label photographs, train on the labels, label with the trained network, and so on."""

    stage: ClassVar[str] = "adapt"

    run: str = "runs/adapt"
    rounds: int = 1  # of labelling and training
    from_previous: bool = True  # train on from the network that made the labels; false = from nothing in every round
    labelling: LabellingConfig = field(default_factory=LabellingConfig)  # its weights label the first round
    training: MagicPointConfig = field(default_factory=MagicPointConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("rounds", self.rounds, 1, 20)
        _refuse("training", self.training, MagicPointConfig(), ("run", "seed", "weights", "data.kind", "data.masks"))
        _refuse("labelling", self.labelling, LabellingConfig(), ("merge", "masks"))
        check_number("labelling.adaptation.homographies", self.labelling.adaptation.homographies, 2)

    def of_round(self, number: int, weights: str, labels: str) -> MagicPointConfig:
        """Return the training of round `number` on `labels`, made by `weights`."""
        start = weights if self.from_previous else None
        return self._labelled(self.training, f"round{number}", start, labels, self.images or "")


def _finetuning() -> SuperPointConfig:
    # Measured over 300 steps from `superpoint-lite`: with every label and position=1, fewer matches are within 3 px
    # than before (89.1 %, 91.0 %); with these settings more (91.4 %).
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
class FinetuneConfig(ChainConfig):
    """Go on training a pretrained SuperPoint on your own photographs."""

    stage: ClassVar[str] = "finetune"

    run: str = "runs/finetuned"
    weights: str = MODEL  # a run folder, weights or their name
    labels: str | None = None  # a feature file of the photographs; None = made from `weights` by homographic adaptation
    labelling: LabellingConfig = field(
        default_factory=lambda: LabellingConfig(
            sharpen=True,
            adaptation=AdaptationConfig(homographies=30, memory=256),
            decode=DecodeConfig(max_keypoints=600),
        )
    )
    training: SuperPointConfig = field(default_factory=_finetuning)

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse("training", self.training, _finetuning(), SET_BY_RECIPE)
        _refuse("labelling", self.labelling, LabellingConfig(), ("weights", "merge", "masks"))
        self.of_training(ModelConfig(descriptor_dim=64), "weights", "labels", "images")

    def of_training(self, model: ModelConfig, weights: str, labels: str, images: str) -> SuperPointConfig:
        """Return the training of `model` from `weights` on `labels` of `images`."""
        return replace(self._labelled(self.training, "training", weights, labels, images), model=model)


@dataclass(frozen=True)
class PipelineConfig(ChainConfig):
    """From nothing to a measured SuperPoint: synthetic shapes -> MagicPoint -> labels -> SuperPoint -> evaluation."""

    stage: ClassVar[str] = "pipeline"

    run: str = "runs/pipeline"
    images: str | None = None  # folder of photographs; None = those of scikit-image, written to the run folder
    limit: int = 0  # max photographs, in even steps through the folder; 0 = all
    model: ModelConfig = field(default_factory=lambda: ModelConfig(descriptor_dim=256))  # MagicPoint: no descriptors
    magicpoint: MagicPointConfig = field(default_factory=MagicPointConfig)
    labels: LabellingConfig = field(
        default_factory=lambda: LabellingConfig(adaptation=AdaptationConfig(homographies=50, memory=256))
    )
    superpoint: SuperPointConfig = field(default_factory=SuperPointConfig)
    evaluation: EvaluatePairsConfig = field(default_factory=EvaluatePairsConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("limit", self.limit, 0)
        if self.limit == 1:
            raise UserError("limit: found 1, expected 0 (all) or at least 2: one is held out")
        _refuse("magicpoint", self.magicpoint, MagicPointConfig(), SET_BY_RECIPE)
        _refuse("superpoint", self.superpoint, SuperPointConfig(), SET_BY_RECIPE)
        _refuse("labels", self.labels, LabellingConfig(), ("weights", "merge", "masks"))
        self.of_magicpoint()
        self.of_superpoint("weights", "labels", "images")

    def of_magicpoint(self) -> MagicPointConfig:
        """Return the training of the detector, without descriptors."""
        model = replace(self.model, descriptor_dim=0)
        return replace(self.magicpoint, run=f"{self.run}/magicpoint", seed=self.seed, model=model)

    def of_superpoint(self, weights: str, labels: str, images: str) -> SuperPointConfig:
        """Return the joint training from `weights` on `labels` of `images`."""
        return replace(self._labelled(self.superpoint, "superpoint", weights, labels, images), model=self.model)


SET_BY_RECIPE = ("run", "seed", "weights", "model", "data.kind", "data.overfit", "data.masks")


def _refuse(name: str, section: Any, default: Any, keys: Sequence[str]) -> None:
    """Raise UserError if one of `keys` of the section `name` is not at its default."""
    for key in keys:
        found, expected = section, default
        for part in key.split("."):
            found, expected = getattr(found, part), getattr(expected, part)
        if found != expected:
            raise UserError(f"{name}.{key}: is set by this recipe; leave it out")
