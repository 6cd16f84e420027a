"""Stage `adapt`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from superpoint.config.export import ExportConfig
from superpoint.config.magicpoint import MagicPointConfig
from superpoint.errors import UserError, check_number


@dataclass(frozen=True)
class AdaptConfig:
    """Label photographs, train on the labels, label with what came of it, and so on.

    Of `training` the stage sets run, weights and what `data.labels` and `data.images` name; the rest is yours.
    """

    stage: ClassVar[str] = "adapt"

    run: str = "runs/adapted"  # folder of all rounds
    images: str | None = None  # folder of photographs
    rounds: int = 1  # of labelling and training
    from_previous: bool = True  # train on from the network that made the labels; false = from nothing in every round
    export: ExportConfig = field(default_factory=ExportConfig)  # its weights make the labels of the first round
    training: MagicPointConfig = field(default_factory=MagicPointConfig)

    def __post_init__(self) -> None:
        check_number("rounds", self.rounds, 1, 20)
        if self.training.data.kind != "synthetic" or self.training.weights is not None:
            raise UserError("training.data.kind, training.weights: are set by this stage, from images and its labels")
        if self.export.adaptation.homographies < 2:
            raise UserError(
                f"export.adaptation.homographies: found {self.export.adaptation.homographies}, expected at least 2"
            )

    def of_round(self, number: int, weights: str, labels: str) -> MagicPointConfig:
        """The training of round `number` on `labels`, which `weights` have made."""
        data = replace(self.training.data, kind="labelled", labels=labels, images=self.images)
        start = weights if self.from_previous else None
        return replace(self.training, run=f"{self.run}/round{number}", weights=start, data=data)
