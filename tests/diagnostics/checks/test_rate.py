"""The check of the learning rate, on histories and range tests written by hand."""

from dataclasses import replace
from typing import Any

import pytest

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.rate import learning_rate
from superpoint.diagnostics.finding import Status
from tests.diagnostics.healthy import Entry, altered, configured, fired_of_history

CURVE = (
    [10.0 ** (-6 + 7 * i / 59) for i in range(60)],
    [4.1 if i < 26 else 1.8 if i < 40 else 3.0 for i in range(60)],
)  # lowest from 1.2e-3, unstable from 5.6e-2


def trained(case: Case, last: int = 2000, **figures: float) -> list[Entry]:
    return [entry | (figures if entry["event"] == "train" else {}) for entry in case.history if entry["step"] <= last]


def test_the_range_test_alone_warns(healthy: Case) -> None:
    fresh = replace(healthy, history=[], rate_curve=CURVE)
    assert learning_rate(fresh).status is Status.PASS
    for rate, word in (("1", "too high"), ("1e-7", "too low")):
        finding = learning_rate(replace(fresh, config=configured(healthy, f"optimizer.lr={rate}")))
        assert finding.status is Status.WARN
        assert word in finding.cause


@pytest.mark.parametrize(
    ("figures", "status"),
    [({}, Status.PASS), ({"recall": 0.01, "lr": 1.0}, Status.FAIL)],
    ids=["learns", "finds nothing"],
)
def test_a_rate_beyond_the_range_is_judged_by_what_it_finds(
    healthy: Case, figures: dict[str, Any], status: Status
) -> None:
    config = configured(healthy, "optimizer.lr=1")
    case = replace(healthy, history=trained(healthy, **figures), rate_curve=CURVE, config=config)
    assert learning_rate(case).status is status


def test_what_is_not_the_rate_is_not_blamed_on_it(healthy: Case) -> None:
    finding = learning_rate(replace(healthy, rate_curve=(CURVE[0], [4.1] * 60)))
    assert finding.status is Status.FAIL
    assert "Not the rate" in finding.cause
    twice = replace(healthy, history=trained(healthy, loss=3.4), rate_curve=CURVE)
    assert "softmax is taken twice" in learning_rate(twice).cause


@pytest.mark.parametrize(
    ("last", "figures", "status"),
    [(160, {"loss": 4.1}, Status.WARN), (400, {"loss": 4.1, "lr": 1e-6}, Status.PASS)],
    ids=["young", "warm-up"],
)
def test_a_run_that_has_just_begun_is_not_failed(
    healthy: Case, last: int, figures: dict[str, Any], status: Status
) -> None:
    assert learning_rate(replace(healthy, history=trained(healthy, last, **figures))).status is status


def test_a_plateau_without_decay(healthy: Case) -> None:
    def change(entry: dict[str, Any]) -> dict[str, Any]:
        flat = entry["event"] == "train" and entry["step"] > 900
        return entry | ({"loss": 0.6} if flat else {}) | {"lr": 1e-3}

    case = altered(healthy, change, config=configured(healthy, "schedule.name=constant"))
    assert fired_of_history(case) == {"learning_rate": "WARN"}
    assert fired_of_history(altered(healthy, change)) == {}  # where a decay is to come


@pytest.mark.parametrize(("recall", "expected"), [(0.8, {}), (0.02, {"learning_rate": "FAIL"})])
def test_a_fine_tuning_is_judged_by_what_it_finds(healthy: Case, recall: float, expected: dict[str, str]) -> None:
    lines = trained(healthy, loss=0.6, recall=recall)
    lines[0] = lines[0] | {"loss": 0.61}
    config = configured(healthy, "weights=magicpoint-lite")
    assert fired_of_history(replace(healthy, history=lines, config=config)) == expected
