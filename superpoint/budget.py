"""The minutes that a command may take, all its phases together, and the plan that it prints at its start."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

LABEL_SHARE = 0.25  # of a budget, at most, is for labels


class Budget:
    """A time that begins with this object. `minutes`: all of it."""

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self._end = time.monotonic() + 60 * minutes

    @property
    def left(self) -> float:
        """Return the seconds that are left, 0 if there are none."""
        return max(self._end - time.monotonic(), 0.0)

    def part(self, seconds: float) -> "Budget":
        """Return a budget of `seconds` from now on, or of what is left here if that is less."""
        return Budget(max(min(seconds, self.left), 0.0) / 60)


class Phase(NamedTuple):
    """A part of a command: what it does, how long (seconds, None: not known), the folder or file it makes."""

    text: str
    seconds: float | None
    place: str | Path


def print_plan(phases: Sequence[Phase], budget: Budget | None = None) -> None:
    """Print the phases of a command, a line each, to standard error."""
    total = "" if budget is None else f" ({budget.minutes:.3g} minutes)"
    lines = [f"Plan{total}:"]
    for number, phase in enumerate(phases, 1):
        about = "" if phase.seconds is None else f", about {format_minutes(phase.seconds)}"
        lines.append(f"  {number} {phase.text}{about} -> {phase.place}")
    print("\n".join(lines), file=sys.stderr, flush=True)


def format_minutes(seconds: float) -> str:
    """Return seconds as "12 min", or "1.5 min" below ten."""
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds / 60:.1f} min"
