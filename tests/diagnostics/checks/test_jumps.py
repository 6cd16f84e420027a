"""The check of sudden changes, on histories written by hand."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from superpoint.config import MagicPointConfig, SuperPointConfig, load_config
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.jumps import gradient_jump, loss_of_chance
from superpoint.diagnostics.finding import Status
from tests.diagnostics.healthy import altered, fired_of_history, scaled


def test_a_spike_that_is_over_is_a_warning(healthy: Case) -> None:
    finding = gradient_jump(altered(healthy, scaled(4.0, first=1000, last=1020)))
    assert finding.status is Status.WARN
    assert "981-1000" in finding.evidence


def test_single_noisy_batches_are_no_jump(healthy: Case) -> None:
    lines = [{"step": 0, "event": "initial_loss", "loss": 4.17}]
    for step in range(1, 400):
        loss = 0.5 * (3.0 if step % 7 == 0 else 1.0)
        lines.append({"step": step, "event": "train", "loss": loss, "grad_norm": 1.0, "recall": 0.7})
    assert gradient_jump(replace(healthy, history=lines)).status is Status.PASS


def test_the_step_is_that_of_the_peak_going_up_or_down(healthy: Case) -> None:
    def spike(jump: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
        extra = {"loss_max": 9.0, "loss_jump": jump, "loss_jump_step": 1007}
        return lambda entry: entry | (extra if (entry["step"], entry["event"]) == (1020, "train") else {})

    for jump, step in ((8.5, 1007), (-8.5, 1006)):
        finding = gradient_jump(altered(healthy, spike(jump)))
        assert f"step {step}" in finding.evidence
        assert finding.status is Status.WARN  # the run finds its points at the end


def test_a_drop_onto_the_dustbin(healthy: Case) -> None:
    def change(entry: dict[str, Any]) -> dict[str, Any]:
        if entry["event"] != "train":
            return entry
        fallen = entry["step"] > 600
        return entry | {"loss": 0.9 if fallen else 3.2, "recall": 0.0 if fallen else 0.9}

    finding = gradient_jump(altered(healthy, change))
    assert finding.status is Status.FAIL
    assert "step 601" in finding.evidence
    assert "no points" in finding.cause


def test_a_gradient_peak_without_harm_is_a_warning(healthy: Case) -> None:
    extra = {"grad_norm_max": 60.0}
    case = altered(healthy, lambda e: e | (extra if (e["step"], e["event"]) == (800, "train") else {}))
    assert fired_of_history(case) == {"gradient_jump": "WARN"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], math.log(65) + math.log(192) + 2),
        (["position=0", "descriptor.weight=0.5"], math.log(65) + 0.5 * math.log(192)),
        (["descriptor.balance=auto", "descriptor.weight=2", "position=3"], 3 * math.log(65) + 6),
        (["descriptor.name=dense_hinge"], None),
    ],
)
def test_chance_of_a_joint_loss_is_that_of_its_parts(settings: list[str], expected: float | None) -> None:
    found = loss_of_chance(load_config(SuperPointConfig, None, settings), math.log(65))
    assert found == (None if expected is None else pytest.approx(expected))
    assert loss_of_chance(MagicPointConfig(), 4.2) == 4.2


def test_a_joint_loss_may_be_above_that_of_a_detector_alone(healthy: Case) -> None:
    def history(highest: float) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = [{"step": 0, "event": "initial_loss", "loss": 4.6, "expected": None}]
        for step in range(20, 1001, 20):
            entry = {"step": step, "event": "train", "loss": 4.3, "loss_max": 5.0, "recall": 0.5}
            lines.append(entry | ({"loss_max": highest} if step == 500 else {}))
        return lines

    case = replace(healthy, config=load_config(SuperPointConfig, None, ["train.steps=1000"]))
    assert gradient_jump(replace(case, history=history(7.0))).status is Status.PASS
    found = gradient_jump(replace(case, history=history(20.0)))
    assert found.status is not Status.PASS
    assert "worse than even odds over all that is asked (11.43)" in found.evidence
