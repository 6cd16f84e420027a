"""Stage `pipeline`: the whole chain, each stage with a configuration of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from superpoint.config.adaptation import AdaptationConfig
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.config.export import ExportConfig
from superpoint.config.magicpoint import MagicPointConfig
from superpoint.config.model import ModelConfig
from superpoint.config.superpoint import SuperPointConfig
from superpoint.errors import UserError, check_number

STAGES = ("magicpoint", "labels", "superpoint", "evaluation")  # in their order, and the names of their folders
SET_HERE = ("run", "seed", "weights", "model")  # of both trainings, from the keys of the whole


@dataclass(frozen=True)
class PipelineConfig:
    """From nothing to a measured SuperPoint: synthetic shapes -> MagicPoint -> labels -> SuperPoint -> evaluation.

    Each section is the configuration of a stage. What joins the stages (run folders, weights, labels, images, the
    network, the seed) is set by this one, from the keys above the sections; the rest is yours.
    """

    stage: ClassVar[str] = "pipeline"

    run: str = "runs/pipeline"  # folder of all stages
    seed: int = 0  # of both trainings
    images: str | None = None  # folder of photographs; None = those of scikit-image, written to the run folder
    limit: int = 0  # photographs used at most, in even steps through the folder; 0 = all
    model: ModelConfig = field(default_factory=lambda: ModelConfig(descriptor_dim=256))  # MagicPoint: no descriptors
    magicpoint: MagicPointConfig = field(default_factory=MagicPointConfig)
    labels: ExportConfig = field(
        default_factory=lambda: ExportConfig(adaptation=AdaptationConfig(homographies=50, memory=256))
    )
    superpoint: SuperPointConfig = field(default_factory=SuperPointConfig)
    evaluation: EvaluatePairsConfig = field(default_factory=EvaluatePairsConfig)

    def __post_init__(self) -> None:
        check_number("seed", self.seed, 0, 2**63)
        check_number("limit", self.limit, 0)
        if self.limit == 1:
            raise UserError("limit: found 1, expected 0 (all) or at least 2: one is held out")
        if not self.model.descriptor_dim:
            raise UserError("model.descriptor_dim: found 0, expected the length of the descriptors, such as 256 or 64")
        trainings: list[tuple[str, MagicPointConfig, Any]] = [
            ("magicpoint", self.magicpoint, MagicPointConfig()),
            ("superpoint", self.superpoint, SuperPointConfig()),
        ]
        for name, section, default in trainings:
            for key in SET_HERE:
                if getattr(section, key) != getattr(default, key):
                    how = key if key != "weights" else "the stage before"
                    raise UserError(f"{name}.{key}: is set by this recipe, from {how}; leave it out")
            if section.data.kind != "synthetic":
                raise UserError(f"{name}.data.kind: is set by this recipe, from images and its labels; leave it out")
            if section.data.overfit:
                raise UserError(
                    f"{name}.data.overfit: found {section.data.overfit}, expected 0; see superpoint overfit"
                )
        if self.labels.weights != ExportConfig().weights:
            raise UserError("labels.weights: is set by this recipe, from the stage before; leave it out")
        if not self.labels.merge:
            raise UserError("labels.merge: found false, expected true: training reads one file")
        # What the sections refuse once they are put together is refused now, not after hours.
        self.of_magicpoint()
        self.of_superpoint("weights", "labels", "images")

    def of_magicpoint(self) -> MagicPointConfig:
        """The training of the detector."""
        model = replace(self.model, descriptor_dim=0)
        return replace(self.magicpoint, run=f"{self.run}/magicpoint", seed=self.seed, model=model)

    def of_superpoint(self, weights: str, labels: str, images: str) -> SuperPointConfig:
        """The joint training from `weights` of the detector, on its `labels` of `images`."""
        data = replace(self.superpoint.data, kind="labelled", labels=labels, images=images)
        run = f"{self.run}/superpoint"
        return replace(self.superpoint, run=run, seed=self.seed, model=self.model, weights=weights, data=data)
