import math

import pytest

from superpoint.config import ScheduleConfig
from superpoint.engine.schedules import Plateau, rate_factor


def test_constant_with_warmup() -> None:
    config = ScheduleConfig("constant", warmup=0.1)
    assert rate_factor(0.0, config) == pytest.approx(0.01)
    assert rate_factor(0.05, config) == pytest.approx(0.505)
    assert rate_factor(0.1, config) == 1.0
    assert rate_factor(1.0, config) == 1.0


def test_step() -> None:
    config = ScheduleConfig("step", warmup=0.0, milestones=[0.5, 0.75], gamma=0.1)
    assert [rate_factor(p, config) for p in (0.0, 0.49, 0.5, 0.74, 0.75, 1.0)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )


def test_cosine() -> None:
    config = ScheduleConfig("cosine", warmup=0.2, final=0.1)
    assert rate_factor(0.2, config) == 1.0
    assert rate_factor(0.6, config) == pytest.approx(0.55)  # half way down, half way between 1 and 0.1
    assert rate_factor(1.0, config) == pytest.approx(0.1)
    assert rate_factor(1.3, config) == pytest.approx(0.1)  # a budget in minutes is overrun by part of a step


def test_onecycle() -> None:
    config = ScheduleConfig("onecycle", rise=0.25, final=0.0)
    assert rate_factor(0.0, config) == pytest.approx(0.04)
    assert rate_factor(0.25, config) == 1.0
    assert rate_factor(1.0, config) == pytest.approx(0.0)


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "onecycle", "plateau"])
@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_extreme_shares_stay_within_0_and_1(name: str, edge: float) -> None:
    config = ScheduleConfig(name, warmup=edge, rise=edge)
    factors = [rate_factor(k / 50, config) for k in range(51)]
    assert all(0.0 <= factor <= 1.0 for factor in factors)


def test_plateau() -> None:
    config = ScheduleConfig("plateau", patience=1, gamma=0.5)
    assert rate_factor(0.3, config) == 1.0
    plateau = Plateau()
    factors = []
    for metric in (0.1, 0.2, 0.2, 0.15, 0.3, math.nan, 0.3, 0.3):
        plateau.update(metric, config)
        factors.append(plateau.factor)
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert plateau.best == 0.3


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "onecycle"])
def test_other_schedules_do_not_react_to_a_flat_metric(name: str) -> None:
    config = ScheduleConfig(name, patience=0, gamma=0.1)
    plateau = Plateau()
    for _ in range(10):
        plateau.update(0.5, config)
    assert plateau == Plateau()
