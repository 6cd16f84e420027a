"""Checks of the heatmap: their numbers, and where they stop judging."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.output import border, cell_pattern
from superpoint.diagnostics.finding import Status
from superpoint.geometry.cells import CHANNELS, DUSTBIN

YOUNG = [{"step": 100, "event": "train", "loss": 1.4}]


def test_a_pattern_in_all_cells_is_found(healthy: Case, faults: ModuleType) -> None:
    pattern = torch.zeros(CHANNELS)
    pattern[:DUSTBIN:9] = 25.0  # the diagonal of every cell
    found = cell_pattern(faults.with_logits(healthy, lambda logits: logits + pattern[:, None, None]))
    assert found.status is Status.FAIL
    assert found.details["cell_pattern"] > 0.85
    assert cell_pattern(replace(faults.pooled_features(healthy), history=YOUNG)).status is Status.WARN


def test_empty_cells_may_be_alike_where_points_are_located(healthy: Case, faults: ModuleType) -> None:
    pattern = torch.zeros(CHANNELS)
    pattern[:DUSTBIN] = torch.linspace(-22, -9, DUSTBIN)

    def fill(logits: Tensor) -> Tensor:
        empty = logits.softmax(dim=1)[:, DUSTBIN:] > 0.7
        return torch.where(empty, pattern[:, None, None] + 0 * logits, logits)

    found = cell_pattern(faults.with_logits(healthy, fill))
    assert found.details["cell_pattern"] > 0.5
    assert found.details["located"] > 0.5
    assert found.status is Status.PASS


def test_a_grid_of_points_is_found(healthy: Case, faults: ModuleType) -> None:
    """The heatmap is right, but every point is moved to the first column of its cell."""

    def to_first_column(logits: Tensor) -> Tensor:
        pixels = logits[:, :DUSTBIN].unflatten(1, (8, 8))
        moved = torch.full_like(pixels, -15.0)
        moved[:, :, 0] = pixels.logsumexp(dim=2)
        return torch.cat([moved.flatten(1, 2), logits[:, DUSTBIN:]], dim=1)

    found = cell_pattern(faults.with_logits(healthy, to_first_column))
    assert found.status is not Status.PASS
    assert found.details["fullest"] > 0.9


def test_border_is_judged_by_odds(healthy: Case, faults: ModuleType) -> None:
    found = border(faults.points_on_border(healthy))
    assert found.details["odds"] > 10
    assert found.details["area"] == pytest.approx(1 - 80 * 112 / (96 * 128))
    few = border(faults.all_dustbin(healthy))
    assert few.status is Status.PASS
    assert "too few" in few.evidence
