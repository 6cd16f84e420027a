"""Checks of the output: their numbers, and where they stop judging."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.observation import observe
from superpoint.diagnostics.checks.output import border, cell_pattern, dustbin, input_sensitivity, logit_scale, plateau
from superpoint.diagnostics.finding import Status
from superpoint.geometry.cells import CHANNELS, DUSTBIN
from superpoint.losses import detector_loss
from tests.diagnostics import faults

YOUNG = [{"step": 100, "event": "train", "loss": 1.4}]


def constant_loss(logits: torch.Tensor, counts: np.ndarray) -> float:
    target = torch.repeat_interleave(torch.arange(CHANNELS), torch.from_numpy(counts).long())
    cells = logits[None, :, None, None].expand(1, -1, 1, len(target))
    loss, _ = detector_loss(cells, target[None, None], torch.ones(1, 1, len(target)) > 0, 3.0)
    return float(loss)


def test_plateau_by_hand() -> None:
    counts = np.zeros(CHANNELS)
    counts[DUSTBIN], counts[:DUSTBIN] = 64, 1
    assert plateau(counts, 1) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(128))
    counts[:DUSTBIN] = 0
    assert plateau(counts, 3) == pytest.approx(0)


def test_plateau_is_the_lowest_loss_of_a_constant() -> None:
    counts = np.random.default_rng(0).integers(0, 5, CHANNELS).astype(float)
    counts[DUSTBIN] = 1500
    flat = [
        constant_loss(torch.zeros(CHANNELS).index_fill(0, torch.tensor(DUSTBIN), shift), counts)
        for shift in torch.linspace(0, 8, 400).tolist()
    ]
    assert min(flat) == pytest.approx(plateau(counts, 3.0), rel=2e-3)


def test_dustbin_gives_the_plateau_and_the_loss(healthy: Case) -> None:
    found = dustbin(faults.all_dustbin(healthy))
    assert found.status is Status.FAIL
    assert "(the plateau)" in found.evidence
    assert "Worse than a constant: look at the dustbin's bias" in found.remedy


def test_a_run_on_the_plateau_is_excused_in_its_first_samples(healthy: Case) -> None:
    class_frequencies = torch.zeros(CHANNELS)
    class_frequencies[DUSTBIN] = math.log(64 * 12)  # 1 cell in 13 holds a point
    stuck = faults.with_logits(healthy, lambda logits: logits * 0 + class_frequencies[:, None, None])
    found = dustbin(stuck)
    assert found.status is Status.FAIL
    assert "loss on that plateau" in found.cause
    young = dustbin(replace(stuck, history=YOUNG))
    assert young.status is Status.WARN
    assert "After 400 samples in 100 steps that is normal" in young.cause


def test_few_points_are_not_judged_unless_they_are_all_there_is(healthy: Case) -> None:
    broken = faults.all_dustbin(faults.with_points(healthy, lambda xy: xy[: len(xy) >= 22]))
    assert 0 < observe(broken).positives < 20
    found = dustbin(broken)
    assert found.status is Status.PASS
    assert "too few positives to judge" in found.evidence
    data = replace(healthy.config.data, overfit=16)
    assert dustbin(replace(broken, config=replace(healthy.config, data=data))).status is Status.FAIL


def test_a_run_of_large_batches_is_young_by_its_steps(healthy: Case) -> None:
    train = replace(healthy.config.train, batch_size=32)
    broken = replace(faults.all_dustbin(healthy), config=replace(healthy.config, train=train))
    young = dustbin(replace(broken, history=[{"step": 142, "event": "train", "loss": 1.4}]))
    assert young.status is Status.WARN
    assert "After 4544 samples in 142 steps that is normal" in young.cause
    assert dustbin(replace(broken, history=[{"step": 1000, "event": "train", "loss": 1.4}])).status is Status.FAIL


def test_without_points_there_is_nothing_to_find(healthy: Case) -> None:
    empty = faults.with_target(healthy, lambda xy, h, w: np.full((h // 8, w // 8), DUSTBIN))
    assert dustbin(empty).status is Status.PASS
    assert "nothing to find" in dustbin(empty).evidence


def test_a_weak_dependence_on_the_input_is_a_warning(healthy: Case) -> None:
    other = observe(healthy).logits[:1]
    mixed = faults.with_logits(healthy, lambda logits: 0.4 * logits + 0.9 * other)
    assert input_sensitivity(mixed).status is Status.WARN


def test_logit_scale_shows_the_naive_result_and_ours(healthy: Case) -> None:
    found = logit_scale(faults.scattered_scales(healthy))
    losses = re.compile(r"is (\S+) that way, (\S+) by losses.detector_loss")
    broken, right = (losses.search(each.evidence) for each in (found, logit_scale(healthy)))
    assert broken
    assert right
    assert (broken[1], broken[2]) == ("nan", right[2])  # infinity over infinity
    assert right[1] == right[2]


def test_drifting_logits_are_a_warning_before_they_overflow(healthy: Case) -> None:
    found = logit_scale(faults.with_logits(healthy, lambda logits: logits + 55))
    assert found.status is Status.WARN
    assert "huge everywhere" in found.cause
    assert "different scales" in logit_scale(faults.scattered_scales(healthy)).cause


def test_a_pattern_in_all_cells_is_found(healthy: Case) -> None:
    pattern = torch.zeros(CHANNELS)
    pattern[:DUSTBIN:9] = 25.0  # the diagonal of every cell
    found = cell_pattern(faults.with_logits(healthy, lambda logits: logits + pattern[:, None, None]))
    assert found.status is Status.FAIL
    assert cell_pattern(replace(faults.pooled_features(healthy), history=YOUNG)).status is Status.WARN


def test_empty_cells_may_be_alike_where_points_are_located(healthy: Case) -> None:
    pattern = torch.zeros(CHANNELS)
    pattern[:DUSTBIN] = torch.linspace(-22, -9, DUSTBIN)

    def fill(logits: Tensor) -> Tensor:
        empty = logits.softmax(dim=1)[:, DUSTBIN:] > 0.7
        return torch.where(empty, pattern[:, None, None] + 0 * logits, logits)

    found = cell_pattern(faults.with_logits(healthy, fill))
    assert found.status is Status.PASS


def test_a_grid_of_points_is_found(healthy: Case) -> None:
    """The heatmap is right, but every point is moved to the first column of its cell."""

    def to_first_column(logits: Tensor) -> Tensor:
        pixels = logits[:, :DUSTBIN].unflatten(1, (8, 8))
        moved = torch.full_like(pixels, -15.0)
        moved[:, :, 0] = pixels.logsumexp(dim=2)
        return torch.cat([moved.flatten(1, 2), logits[:, DUSTBIN:]], dim=1)

    found = cell_pattern(faults.with_logits(healthy, to_first_column))
    assert found.status is not Status.PASS
    assert re.search(r"; (9\d|100)% of \d+ points away from the border are in one row or column", found.evidence)


def test_border_is_judged_by_odds(healthy: Case) -> None:
    share = f"{1 - 80 * 112 / (96 * 128):.0%} of the image's area"
    assert share in border(faults.points_on_border(healthy)).evidence
    few = border(faults.all_dustbin(healthy))
    assert few.status is Status.PASS
    assert "too few" in few.evidence
