"""Measure which cells and matches are right while a network learns a few samples by heart."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from superpoint.data.samples import KeypointSamples
from superpoint.data.warped_pairs import SingleViews, WarpedPairs
from superpoint.diagnostics.overfit.causes import CellScore, MatchScore, score_cells
from superpoint.diagnostics.overfit.correspondences import NearestMatches, match_cells, match_correspondences
from superpoint.diagnostics.overfit.strip import Frame
from superpoint.engine.loop import Objective
from superpoint.geometry.cells import DUSTBIN
from superpoint.models.decode import interpolate_descriptors, logits_to_probability
from superpoint.training.objectives import JointObjective, weighted_means

MIN_LOSS = 1e-6  # below, nothing is wrong for want of steps


class Watch:
    """The `validate` of a run that learns samples 0 .. count - 1 by heart; ends the run as soon as all is right.

    Of pairs all matches must be right too: of sampled correspondences or, for the dense hinge, of cells.

    Attributes:
        parts: the samples in batches of `at_once`.
        image, points: the first sample, or its first view, before encoding.
        positive: bool [H / 8, W / 8], its valid cells that hold a point.
        frames: its output, from before the first step on, `every` steps apart.
        score, matching: of the last look since training began, None before; `matching` only of pairs.
        figures: means of what the objective returned at the last look.
        shown: matches of the first batch from view a to view b.
    """

    def __init__(
        self, dataset: KeypointSamples | WarpedPairs, count: int, objective: Objective, *, every: int, at_once: int = 4
    ) -> None:
        samples = [dataset[index] for index in range(count)]
        self.parts = [default_collate(samples[start : start + at_once]) for start in range(0, count, at_once)]
        view = "_a" if isinstance(dataset, WarpedPairs) else ""
        self.positive = ((samples[0][f"target{view}"] != DUSTBIN) & samples[0][f"valid{view}"]).numpy()
        self.image, self.points, _ = (SingleViews(dataset) if isinstance(dataset, WarpedPairs) else dataset).draw(0)
        self.frames: list[Frame] = []
        self.score: CellScore | None = None
        self.matching: MatchScore | None = None
        self.figures: dict[str, float] = {}
        self.shown: NearestMatches | None = None
        self._objective, self._every = objective, every

    @property
    def right(self) -> bool:
        """Whether every cell and every match was right at the last look since training began."""
        return self.score is not None and not self.score.wrong_count and not (self.matching and self.matching.wrong)

    def start(self, model: nn.Module) -> None:
        """Look at the untrained network."""
        with torch.no_grad():
            self(model.eval())
        self.score = self.matching = None

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """Return the metrics of `model`, which is in evaluation mode, for `engine.loop.train`."""
        looks = [self._look(model, part) for part in self.parts]
        logits, target, valid = (torch.cat(tensors) for tensors in zip(*(look[0] for look in looks), strict=True))
        score = self.score = score_cells(logits, target, valid)
        self.figures = weighted_means([look[1] for look in looks])
        height, width = self.image.shape[:2]
        probability = logits_to_probability(logits[:1])[0, :height, :width].numpy().astype(np.float16)
        loss = self.figures.get("detector_loss", self.figures["loss"])
        step = len(self.frames) * self._every
        self.frames.append(Frame(step, loss, probability, score.wrong[0], int(valid[0].sum())))
        right = score.cells - score.wrong_count
        metrics: dict[str, Any] = {
            **self.figures,
            "right_share": right / max(score.cells, 1),
            "selected_by": "right_share",
            "cells": score.cells,
            "right": right,
            "missed": score.missed,
            "false": score.false,
            "misplaced": score.misplaced,
        }
        if isinstance(self._objective, JointObjective):
            sides = [side for look in looks for side in look[2]]
            asked, wrong = sum(int(side.asked.sum()) for side in sides), sum(side.wrong for side in sides)
            what = "cells" if self._objective.descriptor.name == "dense_hinge" else "correspondences"
            self.matching = MatchScore(asked, wrong, what)
            share = min(metrics["right_share"], self.matching.accuracy)
            metrics |= {"right_share": share, "asked": asked, "matched": asked - wrong}
        return metrics | {"stop": self.right or self.figures["loss"] < MIN_LOSS}

    def _look(
        self, model: nn.Module, part: dict[str, Tensor]
    ) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Tensor], tuple[NearestMatches, ...]]:
        """Logits, target and valid cells (of pairs all first views, then all second), figures, matches."""
        device = next(model.parameters()).device
        batch = {key: value.to(device) for key, value in part.items()}
        kept: list[dict[str, Tensor]] = []

        def keep(image: Tensor) -> dict[str, Tensor]:
            kept.append(model(image))
            return kept[0]

        figures = self._objective(keep, batch)  # pyright: ignore[reportArgumentType]
        logits = kept[0]["logits"].float().cpu()
        if not isinstance(self._objective, JointObjective):
            return (logits, part["target"], part["valid"]), figures, ()
        # As in the objective: no product of matrices in bf16.
        with torch.autocast(device.type, enabled=False):
            maps = kept[0]["descriptors"].float().chunk(2)
            points = batch["correspondences_a"], batch["correspondences_b"]
            sampled = [interpolate_descriptors(each, xy) for each, xy in zip(maps, points, strict=True)]
            matches = match_correspondences(sampled[0], sampled[1], *points, batch["matched"])
            if part is self.parts[0]:
                self.shown = matches[0]
            if self._objective.descriptor.name == "dense_hinge":
                truth = batch["h_a_b"], batch["valid_a"], batch["valid_b"]
                matches = match_cells(maps[0], maps[1], *truth, self._objective.descriptor.radius)
        target, valid = (torch.cat([part[f"{key}_a"], part[f"{key}_b"]]) for key in ("target", "valid"))
        return (logits, target, valid), figures, matches
