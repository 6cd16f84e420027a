import math

import pytest

from superpoint.config import ScheduleConfig
from superpoint.engine.schedules import Plateau, rate_factor


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ScheduleConfig("constant", warmup=0.1), {0: 0.01, 0.05: 0.505, 0.1: 1, 1: 1}),
        (
            ScheduleConfig("step", warmup=0.0, milestones=[0.5, 0.75], gamma=0.1),
            {0: 1, 0.49: 1, 0.5: 0.1, 0.74: 0.1, 0.75: 0.01, 1: 0.01},
        ),
        # A budget in minutes is overrun by part of a step.
        (ScheduleConfig("cosine", warmup=0.2, final=0.1), {0.2: 1, 0.6: 0.55, 1: 0.1, 1.3: 0.1}),
        (ScheduleConfig("onecycle", rise=0.25, final=0.0), {0: 0.04, 0.25: 1, 1: 0}),
        (ScheduleConfig("plateau"), {0.3: 1}),
    ],
)
def test_rates(config: ScheduleConfig, expected: dict[float, float]) -> None:
    assert {progress: rate_factor(progress, config) for progress in expected} == pytest.approx(expected)


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "onecycle", "plateau"])
@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_extreme_shares_stay_within_0_and_1(name: str, edge: float) -> None:
    config = ScheduleConfig(name, warmup=edge, rise=edge)
    factors = [rate_factor(k / 50, config) for k in range(51)]
    assert all(0.0 <= factor <= 1.0 for factor in factors)


def test_plateau() -> None:
    config = ScheduleConfig("plateau", patience=1, gamma=0.5)
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
