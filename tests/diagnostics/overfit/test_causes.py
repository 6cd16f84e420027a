from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from superpoint.config import DataConfig, MagicPointConfig, ModelConfig, SuperPointConfig, load_config
from superpoint.data.samples import SyntheticShapes
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.finding import Status
from superpoint.diagnostics.overfit.causes import (
    CellScore,
    MatchScore,
    explain_failure,
    explain_matching,
    score_cells,
)
from superpoint.geometry.cells import DUSTBIN
from superpoint.models import build_model
from superpoint.training.objectives import DetectorObjective

Labels = tuple[torch.Tensor, torch.Tensor]
CONFIG = MagicPointConfig(
    data=DataConfig(height=48, width=64, overfit=1, workers=0), model=ModelConfig(encoder="lite", head_channels=16)
)


def scored(found: torch.Tensor, labels: Labels) -> CellScore:
    """The score of logits whose largest channel is `found` [B, H, W]."""
    return score_cells(torch.nn.functional.one_hot(found, DUSTBIN + 1).permute(0, 3, 1, 2).float(), *labels)


@pytest.fixture(scope="module")
def labels() -> Labels:
    """Target and valid cells."""
    target = torch.full((1, 6, 8), DUSTBIN)
    target[0, 2, 3], target[0, 4, 4], target[0, 0, 0], target[0, 3, 6] = 8 * 3 + 7, 8 * 5 + 5, 0, 8 * 2 + 7
    valid = torch.ones(1, 6, 8, dtype=torch.bool)
    valid[0, :, 7] = False
    return target, valid


def test_all_right(labels: Labels) -> None:
    found = labels[0].clone()
    found[0, 1, 7] = 12  # does not count
    score = scored(found, labels)
    assert (score.wrong_count, score.cells, score.points) == (0, 42, 4)
    assert not score.wrong.any()


def test_every_kind_of_mistake(labels: Labels) -> None:
    found = labels[0].clone()
    found[0, 0, 0] = DUSTBIN  # missed, at the border
    found[0, 2, 3] = 8 * 4 + 6  # off by one along both axes
    found[0, 3, 6] = 8 * 3 + 0  # the next channel but one row and seven columns away
    found[0, 1, 1] = 30  # false
    score = scored(found, labels)
    assert (score.missed, score.false, score.misplaced, score.near, score.border) == (1, 1, 2, 1, 1)
    assert np.argwhere(score.wrong).tolist() == [[0, 0, 0], [0, 1, 1], [0, 2, 3], [0, 3, 6]]
    assert score.text.startswith("4 of 42 cells wrong: 1 of 4 points not found")


def case(losses: list[float], recall: float = 1.0) -> Case:
    model = build_model(CONFIG.model).eval()
    objective = DetectorObjective(3.0)
    objective.initialise(model.detector)
    train: list[dict[str, Any]] = [
        {"event": "train", "step": i + 1, "loss": loss, "loss_max": loss, "recall": recall, "lr": 1e-3,
         "loss_jump": loss - losses[max(i - 1, 0)], "loss_jump_step": i + 1, "grad_norm": 1.0, "grad_norm_max": 1.0}
        for i, loss in enumerate(losses)
    ]  # fmt: skip
    history = [{"event": "initial_loss", "step": 0, "loss": 4.17, "expected": 4.17}, *train]
    return Case(CONFIG, SyntheticShapes(CONFIG.data, 0), model, objective, history)


def verdicts(of: Case, found: torch.Tensor, labels: Labels) -> list[str]:
    findings = explain_failure(of, scored(found, labels))
    assert all(finding.cause and finding.remedy for finding in findings)
    assert [finding.status is Status.FAIL for finding in findings] == sorted(
        (finding.status is Status.FAIL for finding in findings), reverse=True
    )
    return [finding.check for finding in findings]


def test_causes(labels: Labels) -> None:
    nothing = torch.full_like(labels[0], DUSTBIN)
    falling, settled = [4.17 * 0.97**i for i in range(100)], [4.17 * 0.9**i for i in range(30)] + [0.17] * 70
    assert verdicts(case(falling), nothing, labels)[0] == "budget"
    assert verdicts(case(settled, recall=0.0), nothing, labels)[0] == "dustbin"
    exploded = [4.17, 3.0, 50.0, 200.0, 20.0] + [0.6] * 95
    assert verdicts(case(exploded, recall=0.0), nothing, labels)[0] == "gradient_jump"
    slow = case([4.17 - 0.0005 * i for i in range(120)])
    slow = replace(slow, history=[*slow.history, {"event": "finished", "step": 120}])
    assert verdicts(slow, nothing, labels)[0] == "learning_rate"


def test_what_a_broken_run_ends_with_is_no_cause(labels: Labels) -> None:
    broken = case([4.17, 900.0, 2e13, 5e13] + [5e13 * 0.9**step for step in range(96)], recall=0.0)
    found = verdicts(broken, torch.full_like(labels[0], DUSTBIN), labels)
    assert found[0] == "gradient_jump"
    assert set(found) <= {"gradient_jump", "learning_rate"}
    assert explain_failure(broken, None)[0].check == "gradient_jump"


@pytest.mark.parametrize(
    ("where", "channel", "words"),
    [((2, 3), 8 * 3 + 6, "one pixel off"), ((0, 0), DUSTBIN, "along the border"), ((2, 3), 0, "has settled")],
)
def test_the_cells_left_tell_the_cause(where: tuple[int, int], channel: int, words: str, labels: Labels) -> None:
    found = labels[0].clone()
    found[0, where[0], where[1]] = channel
    finding = explain_failure(case([0.2] * 100), scored(found, labels))[0]  # then batchnorm: it is untrained
    assert finding.check == "cells"
    assert words in finding.cause


def test_the_cause_of_matches_that_stay_wrong() -> None:
    size = ["data.height=64", "data.width=64"]
    score, config = MatchScore(200, 40, "correspondences"), load_config(SuperPointConfig, None, size)
    alike = explain_matching(score, {"positive_similarity": 0.99, "negative_similarity": 0.97}, config)
    assert "All descriptors are alike" in alike.cause
    assert "40 of 200 correspondences" in alike.evidence
    figures = {"positive_similarity": 0.9, "negative_similarity": 0.1}
    assert "not told apart" in explain_matching(score, figures, config).cause
    dense = load_config(SuperPointConfig, None, [*size, "descriptor.name=dense_hinge"])
    assert "descriptor.positive_weight=13 at this size" in explain_matching(score, figures, dense).remedy
    assert MatchScore(0, 0, "correspondences").accuracy == 0  # without questions there is no success
