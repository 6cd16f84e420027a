"""Real short runs that go wrong on purpose, seen by all 15 checks: the right ones speak, and say what was done."""

import re
from collections.abc import Callable

import pytest

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.history import initial_loss, nonfinite, overfitting
from superpoint.diagnostics.checks.jumps import gradient_jump
from superpoint.diagnostics.checks.rate import learning_rate
from superpoint.diagnostics.checks.trend import windows
from superpoint.diagnostics.finding import Check
from tests.diagnostics.healthy import HISTORY, fired, run_checks

RealRun = Callable[[str], Case]

# After tens of steps no network tells the pixels of a cell apart or has left the dustbin plateau: warnings that say so.
YOUNG = {"dustbin": "WARN", "cell_pattern": "WARN"}
# What a rate a hundred times too high leaves behind besides: logits of any size, and channels that are off for good.
THROWN = {"gradient_jump": "FAIL", "learning_rate": "FAIL", "logit_scale": "FAIL", "dead_relu": "FAIL"}
# Weights of NaN: the checks that look at the output say that they cannot judge it.
UNJUDGED = ("dustbin", "input_sensitivity", "cell_pattern", "border", "logit_scale", "dead_relu", "precision")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fine_tune", {}),  # from trained weights: below ln 65 at once, and the loss need not fall
        ("learns", YOUNG),
        ("tiny_rate", {"learning_rate": "FAIL"}),  # so little has happened that it still is as it was drawn
        (
            "nan",
            dict.fromkeys(UNJUDGED, "WARN")
            | dict.fromkeys(("gradient_jump", "learning_rate", "nonfinite"), "FAIL")
            | {"batchnorm": "FAIL"},  # its running statistics are not finite either
        ),
        # After four steps the norms still hold half of their initial statistics, and random logits crowd somewhere.
        ("careless_head", {"initial_loss": "FAIL", "cell_pattern": "WARN", "batchnorm": "WARN"}),
        # The norms know the statistics of two images in place of those of the augmented set that is looked at.
        ("two_images", {"overfitting": "FAIL", "cell_pattern": "WARN", "batchnorm": "WARN"}),
    ],
)
def test_of_all_checks_the_right_ones_fire(real_run: RealRun, name: str, expected: dict[str, str]) -> None:
    found = run_checks(real_run(name))
    assert fired(found) == expected
    for check, status in expected.items():
        if status == "WARN" and check not in HISTORY:
            assert "that is normal" in found[check].cause or found[check].evidence.startswith("Not judged")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("momentum", THROWN),  # the rate is to blame for the jump and for the kernels that have grown
        ("clipped", THROWN),
        ("adam", {"learning_rate": "FAIL"}),
    ],
)
def test_of_runs_that_were_thrown_off_the_right_checks_fail(
    real_run: RealRun, name: str, expected: dict[str, str]
) -> None:
    """Failures are equal on every machine; warnings depend on the last bits of the first steps."""
    found = fired(run_checks(real_run(name)))
    assert {check: status for check, status in found.items() if status == "FAIL"} == expected
    assert set(found) - set(expected) <= {*YOUNG, "batchnorm", "dead_relu"}


def test_a_run_that_learns_is_no_flat_one(real_run: RealRun) -> None:
    found = windows(real_run("learns"))
    assert found[-1].loss < 0.7 * found[0].loss


@pytest.mark.parametrize(
    ("name", "check", "words"),
    [
        ("momentum", gradient_jump, "momentum 0.9"),
        ("clipped", gradient_jump, "train.clip_norm=1 bounds the gradient"),
        ("adam", learning_rate, "too high"),
        ("tiny_rate", learning_rate, "too low"),
        ("nan", nonfinite, "rate"),
        ("careless_head", initial_loss, "last layer not initialised"),
    ],
)
def test_the_cause_is_what_was_done(real_run: RealRun, name: str, check: Check, words: str) -> None:
    assert words in check(real_run(name)).cause


def test_what_was_measured(real_run: RealRun) -> None:
    assert re.search(r"step ([1-9]|[123]\d|40)\b", gradient_jump(real_run("momentum")).evidence)
    assert "kernels grown to" in learning_rate(real_run("adam")).evidence  # the loss does not show it
    assert "not judged against ln 65" in initial_loss(real_run("fine_tune")).evidence


def test_a_blow_up_to_nan_is_told_from_the_file_it_left(real_run: RealRun) -> None:
    case = real_run("nan")
    assert not case.events("train")
    step = case.events("nonfinite")[0]["step"]
    for check in (nonfinite, gradient_jump):
        assert re.search(rf"step {step}\b", check(case).evidence)


def test_two_images_are_learnt_by_heart(real_run: RealRun) -> None:
    finding = overfitting(real_run("two_images"))
    assert finding.status.value == "FAIL"
    # Validation was best at the last step: no earlier weights to go back to.
    assert "weights of about step" not in finding.remedy
