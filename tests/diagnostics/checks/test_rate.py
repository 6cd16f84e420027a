"""The check of the learning rate, on histories and range tests written by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.rate import learning_rate
from superpoint.diagnostics.finding import Status
from tests.diagnostics.healthy import altered, configured, fired_of_history

CURVE = (
    [10.0 ** (-6 + 7 * i / 59) for i in range(60)],
    [4.1 if i < 26 else 1.8 if i < 40 else 3.0 for i in range(60)],
)  # lowest from 1.2e-3, unstable from 5.6e-2


def test_the_range_test_alone_warns(healthy: Case) -> None:
    fresh = replace(healthy, history=[], rate_curve=CURVE)
    assert learning_rate(fresh).status is Status.PASS
    for rate, word in (("1", "too high"), ("1e-7", "too low")):
        finding = learning_rate(replace(fresh, config=configured(healthy, f"optimizer.lr={rate}")))
        assert finding.status is Status.WARN
        assert word in finding.cause


def test_a_rate_beyond_the_range_that_learns_passes(healthy: Case) -> None:
    case = replace(healthy, rate_curve=CURVE, config=configured(healthy, "optimizer.lr=1"))
    assert learning_rate(case).status is Status.PASS


def test_a_rate_beyond_the_range_that_finds_nothing_fails(healthy: Case) -> None:
    case = altered(
        healthy,
        lambda entry: entry | ({"positive_recall": 0.01, "lr": 1.0} if entry["event"] == "train" else {}),
        rate_curve=CURVE,
        config=configured(healthy, "optimizer.lr=1"),
    )
    assert learning_rate(case).status is Status.FAIL


def test_no_rate_helps(healthy: Case) -> None:
    finding = learning_rate(replace(healthy, rate_curve=(CURVE[0], [4.1] * 60)))
    assert finding.status is Status.FAIL
    assert "Not the rate" in finding.cause


def test_softmax_taken_twice_is_not_blamed_on_the_rate(healthy: Case) -> None:
    case = altered(
        healthy,
        lambda entry: entry | ({"loss": 3.4} if entry["event"] == "train" else {}),
        rate_curve=CURVE,
    )
    assert "softmax is taken twice" in learning_rate(case).cause


def test_a_young_run_is_not_failed(healthy: Case) -> None:
    lines = [entry | {"loss": 4.1} for entry in healthy.history if entry["step"] <= 160]
    assert learning_rate(replace(healthy, history=lines)).status is Status.WARN


def test_a_warm_up_is_not_judged(healthy: Case) -> None:
    lines = [entry | {"loss": 4.1, "lr": 1e-6} for entry in healthy.history if entry["step"] <= 400]
    assert learning_rate(replace(healthy, history=lines)).status is Status.PASS


def test_a_plateau_without_decay(healthy: Case) -> None:
    def change(entry: dict[str, Any]) -> dict[str, Any]:
        flat = entry["event"] == "train" and entry["step"] > 900
        return entry | ({"loss": 0.6} if flat else {}) | {"lr": 1e-3}

    case = altered(healthy, change, config=configured(healthy, "schedule.name=constant"))
    assert fired_of_history(case) == {"learning_rate": "WARN"}
    assert "cosine" in learning_rate(case).remedy
    assert fired_of_history(altered(healthy, change)) == {}  # where a decay is to come


def test_a_fine_tuning_is_judged_by_what_it_finds(healthy: Case) -> None:
    """From trained weights the loss need not fall; finding hardly a point after 2000 steps is a fault there too."""

    def change(recall: float) -> Case:
        figures = {"loss": 0.6, "positive_recall": recall}
        lines = lambda e: e | (figures if e["event"] == "train" else {"loss": 0.61} if e["step"] == 0 else {})  # noqa: E731
        return altered(healthy, lines, config=configured(healthy, "weights=magicpoint-lite"))

    assert fired_of_history(change(0.8)) == {}
    assert fired_of_history(change(0.02)) == {"learning_rate": "FAIL"}
