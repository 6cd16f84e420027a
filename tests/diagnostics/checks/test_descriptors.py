"""Checks of descriptors and pairs: each planted fault is found by its check, and a healthy joint run passes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.descriptors import (
    correlation,
    descriptor_collapse,
    descriptor_matching,
    descriptor_pattern,
    is_joint,
    observe_pairs,
    position_share,
    ranked,
)
from superpoint.diagnostics.diagnosis import CHECKS, DESCRIPTOR_CHECKS, checks_of
from superpoint.diagnostics.finding import Status
from tests.diagnostics import descriptor_faults
from tests.diagnostics.healthy import fired as not_passed
from tests.diagnostics.healthy import run_checks


@pytest.fixture(scope="module")
def joint() -> Case:
    return descriptor_faults.joint_case()


def fired(case: Case) -> dict[str, str]:
    return not_passed(run_checks(case, checks=DESCRIPTOR_CHECKS))


def test_healthy_pairs_pass(joint: Case) -> None:
    assert fired(joint) == {}
    assert not joint.model.training


def test_they_concern_joint_runs_alone(joint: Case, healthy: Case) -> None:
    assert checks_of(healthy) == CHECKS
    assert not is_joint(healthy)
    assert list(checks_of(joint)) == [*CHECKS, *DESCRIPTOR_CHECKS]


LOST = {"descriptor_matching": "FAIL"}  # of any fault that hides the counterparts


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("collapsed", {"descriptor_collapse": "FAIL"}),
        # Of what is not a number nothing can be said.
        (
            "not_finite",
            {"descriptor_values": "FAIL", **dict.fromkeys(list(DESCRIPTOR_CHECKS)[2:], "WARN")},
        ),
        ("zero_vectors", {"descriptor_values": "FAIL"}),
        ("not_normalised", {"descriptor_values": "FAIL"}),
        ("normalised_over_width", {"descriptor_values": "FAIL"}),
        ("shuffled_cells", LOST),
        ("position_code", {"descriptor_pattern": "FAIL", **dict.fromkeys(LOST, "WARN")}),
        # The network was trained on the right correspondences, so it does not find the wrong ones.
        ("swapped_places", {"pairs": "FAIL", **LOST}),
        ("inverse_homography", {"pairs": "FAIL", **LOST}),
        ("other_image", {"pairs": "FAIL", **LOST}),
    ],
)
def test_a_fault_is_found_by_its_check(joint: Case, fault: str, expected: dict[str, str]) -> None:
    assert fired(getattr(descriptor_faults, fault)(joint)) == expected


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("swapped_places", "pairs", "x and y exchanged"),
        ("inverse_homography", "pairs", "goes the wrong way"),
        ("other_image", "pairs", "do not show the same thing"),
        ("zero_vectors", "descriptor_values", "Zero vectors"),
        ("not_normalised", "descriptor_values", "not normalised"),
    ],
)
def test_the_cause_tells_faults_apart(joint: Case, fault: str, check: str, words: str) -> None:
    assert words in DESCRIPTOR_CHECKS[check](getattr(descriptor_faults, fault)(joint)).cause


def test_a_network_that_has_not_been_trained_is_no_failure(joint: Case) -> None:
    assert "FAIL" not in fired(descriptor_faults.untrained(joint)).values()
    assert fired(descriptor_faults.unlearnt(joint))  # it would be one after thousands of samples
    young = replace(descriptor_faults.collapsed(joint), history=[{"step": 50, "event": "train", "loss": 5.0}])
    found = descriptor_collapse(young)
    assert found.status is Status.WARN
    assert "After 200 samples in 50 steps that is normal" in found.cause


def test_one_pair_is_judged_by_its_own_places(joint: Case) -> None:
    data = replace(joint.config.data, overfit=1)
    alone = replace(joint, config=replace(joint.config, data=data))
    assert fired(alone) == {}
    assert "different points of an image" in descriptor_collapse(alone).evidence
    assert "Too few different images" in descriptor_pattern(alone).evidence


def test_evidence_is_what_the_objective_logs(joint: Case) -> None:
    seen = observe_pairs(joint)
    assert f"two views of a point {float(seen.positive.mean()):.2f}" in descriptor_matching(joint).evidence
    asked, wrong = (int(each) for each in (seen.forth.asked.sum() * 2, seen.forth.wrong + seen.back.wrong))
    assert seen.figures["matching_accuracy"] == pytest.approx(1 - wrong / asked, abs=1e-6)
    assert 0 < seen.chance < 0.3


def test_ranked_is_the_area_under_the_curve() -> None:
    assert ranked(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert ranked(np.array([0.0, 3.0]), np.array([1.0, 2.0])) == 0.5
    assert ranked(np.array([1.0]), np.array([1.0, 1.0, 0.0])) == pytest.approx(2 / 3)
    assert ranked(np.array([]), np.array([1.0])) == 1


def test_position_share() -> None:
    generator = torch.Generator().manual_seed(0)
    content, code = torch.randn((6, 8, 10, 10), generator=generator), torch.randn((1, 8, 10, 10), generator=generator)
    assert position_share(content) < 0.05
    assert position_share(code.expand(6, -1, -1, -1)) == pytest.approx(1)
    assert position_share(content + code) == pytest.approx(0.5, abs=0.06)
    assert position_share(torch.ones(6, 8, 4, 4)) == 0


def test_correlation_is_of_what_both_views_show() -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 64)).astype(np.uint8)
    shift = np.array([[1, 0, 10.0], [0, 1, -4], [0, 0, 1]])
    moved = np.roll(image, (-4, 10), axis=(0, 1))
    assert correlation(image, moved, shift) > 0.9
    assert abs(correlation(image, moved, np.eye(3))) < 0.3
    assert correlation(image, moved, np.array([[1, 0, 500.0], [0, 1, 0], [0, 0, 1]])) == 0
    assert correlation(np.full_like(image, 9), moved, shift) == 0
