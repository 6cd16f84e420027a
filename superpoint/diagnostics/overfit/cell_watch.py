"""Looks at a network while it learns a few samples by heart: which cells are right, and how its heatmap changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from superpoint.data.samples import PointSamples
from superpoint.diagnostics.overfit.learnt import CellScore, score_cells
from superpoint.diagnostics.overfit.strip import Frame
from superpoint.geometry.cells import DUSTBIN
from superpoint.models.decode import logits_to_probability

Objective = Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]]
LEAST_LOSS = 1e-6  # below, a wrong cell cannot be due to too few steps


class CellWatch:
    """The `validate` of a run that learns its samples by heart; ends the run as soon as all cells are right.

    Args:
        dataset: see `PointSamples`; its samples 0 .. count - 1 are looked at.
        count: how many.
        objective: what is minimised.
        every: steps between looks.
        at_once: samples that go through the network together.

    Attributes:
        batch: these samples: image [N, 1, H, W], target and valid [N, H / 8, W / 8].
        positive: bool [N, H / 8, W / 8], cells that count and hold a point.
        image, points: the first sample before encoding.
        frames: what the network said about the first sample, from before the first step on.
        score: of the last look since training began, None before.
    """

    def __init__(
        self, dataset: PointSamples, count: int, objective: Objective, *, every: int, at_once: int = 8
    ) -> None:
        samples = [dataset[index] for index in range(count)]
        self.batch = {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
        self.positive = (self.batch["target"] != DUSTBIN) & self.batch["valid"]
        self.image, self.points, _ = dataset.draw(0)
        self.frames: list[Frame] = []
        self.score: CellScore | None = None
        self._objective = objective
        self._every, self._at_once = every, at_once

    def start(self, model: nn.Module) -> None:
        """Look at the untrained network."""
        with torch.no_grad():
            self(model.eval())
        self.score = None

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """Metrics for `engine.loop.train`; `model` is in evaluation mode."""
        logits, loss = self._evaluate(model)
        score = self.score = score_cells(logits, self.batch["target"], self.batch["valid"])
        height, width = self.image.shape
        probability = logits_to_probability(logits[:1])[0, :height, :width].numpy()
        wrong = score.wrong[0].numpy()
        cells = int(self.batch["valid"][0].sum())
        step = len(self.frames) * self._every
        self.frames.append(Frame(step, loss, probability.astype(np.float16), wrong, cells))
        right = score.cells - score.wrong_count
        return {
            "right_share": right / max(score.cells, 1),
            "selected_by": "right_share",
            "loss": loss,
            "cells": score.cells,
            "right": right,
            "missed": score.missed,
            "invented": score.invented,
            "misplaced": score.misplaced,
            "stop": score.wrong_count == 0 or loss < LEAST_LOSS,
        }

    def _evaluate(self, model: nn.Module) -> tuple[Tensor, float]:
        """Logits [N, 65, H / 8, W / 8] on the CPU, and the loss of all images together."""
        device = next(model.parameters()).device
        logits, total, weights = [], 0.0, 0.0
        for first in range(0, len(self.batch["image"]), self._at_once):
            part = {key: value[first : first + self._at_once].to(device) for key, value in self.batch.items()}
            logits.append(model(part["image"].float() / 255)["logits"].float().cpu())
            output = self._objective(model, part)
            total += float(output["loss"] * output["weight"])
            weights += float(output["weight"])
        return torch.cat(logits), total / max(weights, 1e-12)
