"""Looks at a network while it learns a few pairs by heart: which cells are right, and which places find each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from superpoint.data.warped_pairs import WarpedPairs
from superpoint.diagnostics.overfit.correspondences import Matches, match_cells, match_places
from superpoint.diagnostics.overfit.learnt import CellScore, score_cells
from superpoint.diagnostics.overfit.strip import Frame
from superpoint.geometry.cells import DUSTBIN
from superpoint.models.decode import interpolate_descriptors, logits_to_probability
from superpoint.training.objectives import JointObjective

LEAST_LOSS = 1e-6  # below, nothing is wrong for want of steps


@dataclass(frozen=True)
class MatchScore:
    """Nearest descriptors against the truth, both ways: `asked` questions, of which `wrong` were answered wrongly.

    `what`: "places" (sampled correspondences) or "cells" (centres of the 8x8 cells).
    """

    asked: int
    wrong: int
    what: str

    @property
    def accuracy(self) -> float:
        return 1 - self.wrong / self.asked if self.asked else 0.0

    @property
    def text(self) -> str:
        return f"{self.wrong} of {self.asked} {self.what} matched wrongly"


class PairWatch:
    """The `validate` of a run that learns pairs by heart; ends the run as soon as all cells are right and all matches.

    Matches are those that the loss is about: of sampled places or, for the dense hinge, of cells.

    Args:
        pairs: its pairs 0 .. count - 1 are looked at.
        every: steps between looks.
        at_once: pairs that go through the network together.

    Attributes:
        batch: these pairs, see `WarpedPairs`.
        positive: bool [H / 8, W / 8] of the first view of the first pair: cells that count and hold a point.
        image, points: that view before encoding.
        frames: what the network said about it, from before the first step on.
        score, matching: of the last look since training began, None before.
        figures: what the objective returned then, mean over the pairs.
        shown: matches of the first pair's places from a to b, for the picture.
    """

    def __init__(
        self, pairs: WarpedPairs, count: int, objective: JointObjective, *, every: int, at_once: int = 4
    ) -> None:
        samples = [pairs[index] for index in range(count)]
        self.parts = [default_collate(samples[start : start + at_once]) for start in range(0, count, at_once)]
        self.batch = default_collate(samples)
        self.positive = (samples[0]["target_a"] != DUSTBIN) & samples[0]["valid_a"]
        view = pairs.draw(0)[0]
        self.image, self.points = view.image, view.points
        self.frames: list[Frame] = []
        self.score: CellScore | None = None
        self.matching: MatchScore | None = None
        self.figures: dict[str, float] = {}
        self.shown: Matches | None = None
        self._objective, self._every = objective, every

    def start(self, model: nn.Module) -> None:
        """Look at the untrained network."""
        with torch.no_grad():
            self(model.eval())
        self.score = self.matching = None

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """Metrics for `engine.loop.train`; `model` is in evaluation mode."""
        found = [self._look(model, part) for part in self.parts]
        logits, targets, valid = (torch.cat([one[key] for one in found]) for key in ("logits", "target", "valid"))
        score = self.score = score_cells(logits, targets, valid)
        what = "cells" if self._objective.descriptor == "dense_hinge" else "places"
        matches = [side for one in found for side in one["matches"]]
        asked = sum(int(side.asked.sum()) for side in matches)
        matching = self.matching = MatchScore(asked, sum(side.wrong for side in matches), what)
        total = sum(float(one["figures"]["weight"]) for one in found) or 1.0
        self.figures = {
            key: sum(float(one["figures"][key]) * float(one["figures"]["weight"]) for one in found) / total
            for key in found[0]["figures"]
            if key != "weight"
        }
        self.shown = found[0]["places"]
        height, width = self.image.shape
        probability = logits_to_probability(logits[:1])[0, :height, :width].numpy()
        wrong, cells = score.wrong[0].numpy(), int(valid[0].sum())
        loss = self.figures["detector_loss"]
        self.frames.append(Frame(len(self.frames) * self._every, loss, probability.astype(np.float16), wrong, cells))
        right = (score.cells - score.wrong_count) / max(score.cells, 1)
        done = score.wrong_count == 0 and matching.wrong == 0
        return {
            **self.figures,
            "right_share": min(right, matching.accuracy),
            "selected_by": "right_share",
            "cells": score.cells,
            "right": score.cells - score.wrong_count,
            "asked": matching.asked,
            "matched": matching.asked - matching.wrong,
            "stop": done or self.figures["loss"] < LEAST_LOSS,
        }

    def _look(self, model: nn.Module, part: dict[str, Tensor]) -> dict[str, Any]:
        """Logits [2 N, 65, Hc, Wc] (all first views, then all second ones) with their targets, matches, figures."""
        device = next(model.parameters()).device
        batch = {key: value.to(device) for key, value in part.items()}
        kept: list[dict[str, Tensor]] = []

        def keep(image: Tensor) -> dict[str, Tensor]:
            kept.append(model(image))
            return kept[0]

        figures = self._objective(keep, batch)  # pyright: ignore[reportArgumentType]
        # As in the objective: no product of matrices in bf16.
        with torch.autocast(device.type, enabled=False):
            maps = kept[0]["descriptors"].float().chunk(2)
            points = batch["correspondences_a"], batch["correspondences_b"]
            sampled = [interpolate_descriptors(each, xy) for each, xy in zip(maps, points, strict=True)]
            places = match_places(sampled[0], sampled[1], *points, batch["matched"])
            matches = places
            if self._objective.descriptor == "dense_hinge":
                truth = batch["h_a_b"], batch["valid_a"], batch["valid_b"]
                matches = match_cells(maps[0], maps[1], *truth, self._objective.radius)
        both = {key: torch.cat([part[f"{key}_a"], part[f"{key}_b"]]) for key in ("target", "valid")}
        return {**both, "logits": kept[0]["logits"].float().cpu(), "matches": matches, "places": places[0],
                "figures": figures}  # fmt: skip
