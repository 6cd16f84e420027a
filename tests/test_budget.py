import pytest

from superpoint import budget
from superpoint.budget import Budget, Phase, format_minutes, print_plan


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, which stands still."""
    now = [100.0]
    monkeypatch.setattr(budget.time, "monotonic", lambda: now[0])
    return now


def test_a_budget_runs_out_and_its_parts_with_it(clock: list[float]) -> None:
    whole = Budget(2)
    part, longer = whole.part(30), whole.part(500)
    assert (whole.left, part.left, longer.left) == (120, 30, 120)
    clock[0] += 40
    assert (whole.left, part.left) == (80, 0)
    assert whole.part(-5).left == 0


def test_the_plan_has_a_line_per_phase(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    print_plan([Phase("label 9 photographs", 90, "x/labels.h5"), Phase("train", None, "x")], Budget(6))
    lines = ["Plan (6 minutes):", "  1 label 9 photographs, about 1.5 min -> x/labels.h5", "  2 train -> x", ""]
    assert capsys.readouterr().err.split("\n") == lines
    assert format_minutes(720) == "12 min"
