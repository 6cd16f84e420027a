"""Check learning_rate: too high, too low, or kept up where it should decay."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import numpy as np

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.trend import (
    GROWN,
    LEARNING,
    Window,
    expected_initial_loss,
    initial_loss_of,
    largest_growth,
    late_mean,
    sentence,
    windows,
)
from superpoint.diagnostics.finding import Finding, Status
from superpoint.geometry.cells import DUSTBIN

# Healthy figures are those of the quick and the default recipe (AdamW, 2,000 to 5,000 steps, batches of 4 and 8).
FROZEN = 0.8  # loss at the end over the initial one. Healthy: below 0.5 after 100 steps
FROZEN_STEPS = 100  # at half the full rate or more, before a loss that has not fallen says anything
JUDGED_STEPS = 400  # likewise, before that or a network that finds no points is more than a warning
FLAT_STEPS = 1000  # steps of half a run, before a flat loss at a constant rate is worth a word
FLAT = 0.02  # share by which the loss still falls from the third to the last quarter of a run
DOUBLE_SOFTMAX = math.log(1 + DUSTBIN / math.e)  # 3.20: lowest cross-entropy if softmax is taken twice

# Of a range test of 60 steps from 1e-6 to 10.
FALL = 0.1  # share by which its loss must fall to count
UNSTABLE = 1.25  # loss over the lowest so far: from here on the rate is too high. Healthy data: at 2e-2 to 3e-1, AdamW
TOO_HIGH = 5.0  # used rate over the first unstable one. Recipes: 0.005 to 0.1
TOO_LOW = 1e-3  # used rate over that of the lowest loss before it is unstable. Recipes: 0.03 to 0.1


@dataclass(frozen=True)
class Range:
    """What a range test says: rates at the lowest loss and at the first unstable one; None if there is no such."""

    best: float | None
    unstable: float | None
    end: float  # highest rate that was tried

    @property
    def text(self) -> str:
        if self.best is None:
            return f"no rate up to {self.end:.1g} makes its loss fall"
        upper = f", unstable from {self.unstable:.1g}" if self.unstable else ""
        return f"lowest loss at {self.best:.1g}{upper}"


def learning_rate(case: Case) -> Finding:
    """Learning rate too high, too low, or a plateau without decay: from the history, the kernels and a range test."""
    found, config = windows(case), case.config
    rate, tested = config.optimizer.lr, read_range(case)
    growth = largest_growth(case)
    initial = initial_loss_of(case) or 0.0
    initial = initial if initial > 0 else expected_initial_loss(config)
    loss, recall = late_mean(found, "loss"), late_mean(found, "recall")
    steps = full_rate_steps(found, rate)
    details = {
        "rate": rate,
        "best_rate": tested.best if tested else None,
        "unstable_rate": tested.unstable if tested else None,
        "loss": loss,
        "initial_loss": initial,
        "steps_at_full_rate": steps,
        "kernel_growth": growth if math.isfinite(growth) else None,
    }
    seen = f"rate {rate:g}"
    if tested:
        seen += f"; range test: {tested.text}"
    if loss is not None:
        seen += f"; loss {initial:.2f} -> {loss:.3g} in {found[-1].last} steps"

    def finding(status: Status, evidence: str, cause: str = "", remedy: str = "") -> Finding:
        return Finding("learning_rate", status, sentence(evidence), sentence(cause), sentence(remedy), details)

    start = f"start from {tested.best / 10:.1g}" if tested and tested.best else "find a start by `superpoint find-lr`"
    if growth > GROWN:
        size = f"{growth:.3g} times" if math.isfinite(growth) else "beyond any number of times"
        cause = (
            "rate too high: every update overshoots, so the kernels grow; batch norm hides it from the loss until they "
            "are so large that nothing changes any more"
        )
        evidence = f"{seen}; kernels grown to {size} their initial norm (healthy: 1 to 2)"
        return finding(Status.FAIL, evidence, cause, f"divide optimizer.lr by 10 or more ({start}) and train anew")
    if tested and tested.best is None:
        cause = "not the rate: the loss does not respond to the weights (labels, loss or a gradient that is cut)"
        return finding(Status.FAIL, seen, cause, "look at `labels` and `initial_loss` first; overfit a single image")
    learning = recall is not None and recall > LEARNING
    # A run that starts from trained weights starts low, and its loss rises with the curriculum: what it finds tells.
    frozen = loss is not None and loss > FROZEN * initial and (config.weights is None or not learning)
    if frozen and steps >= FROZEN_STEPS:
        ended = bool(case.events("finished")) or steps >= JUDGED_STEPS
        return finding(Status.FAIL if ended else Status.WARN, seen, *_frozen(loss or 0.0, rate, tested, start))
    too_low = tested is not None and tested.best is not None and rate < TOO_LOW * tested.best
    too_high = tested is not None and tested.unstable is not None and rate > TOO_HIGH * tested.unstable
    if too_low and (frozen or not found):
        status = Status.FAIL if found else Status.WARN
        return finding(status, seen, "rate too low: thousands of steps will hardly move the weights", f"{start}")
    if too_high and not learning:
        status = Status.FAIL if found and steps >= JUDGED_STEPS else Status.WARN
        cause = "rate too high: beyond the rate at which the loss gets unstable"
        return finding(status, seen, cause, f"{start}; schedule.warmup=0.02, train.clip_norm=1")
    flat = _flat(case, found)
    if flat is not None:
        cause = f"the schedule ({config.schedule.name}) keeps the rate up: the weights circle about a minimum"
        remedy = "set schedule.name=cosine (or step with schedule.milestones) and resume with a larger budget"
        return finding(Status.WARN, f"{seen}; {flat}", cause, remedy)
    if not found:
        return finding(Status.PASS, f"{seen}; no training steps logged yet")
    if frozen:
        seen += f" (too few at this rate to judge by the loss: {steps} of {FROZEN_STEPS})"
    return finding(Status.PASS, seen)


def _frozen(loss: float, rate: float, tested: Range | None, start: str) -> tuple[str, str]:
    """Cause and remedy for a loss that has hardly fallen."""
    if tested is not None and tested.best is not None and rate > 0.03 * tested.best:
        cause = "not the rate, by the range test: the loss does not respond as it does on fresh weights"
        if loss > DOUBLE_SOFTMAX - 0.02:
            cause += f"; if softmax is taken twice the loss cannot fall below {DOUBLE_SOFTMAX:.2f}"
        return (
            cause,
            "check that the loss gets logits, that no layer is frozen and that the optimiser has all parameters",
        )
    return "rate too low: the weights have hardly moved", f"raise optimizer.lr: {start}"


def read_range(case: Case) -> Range | None:
    """What the range test of a case says, if there is one with enough points to say anything."""
    if case.rate_curve is None or len(case.rate_curve[0]) < 5:
        return None
    rates, losses = (np.asarray(values, np.float64) for values in case.rate_curve)
    lowest = np.minimum.accumulate(losses)
    fallen = losses < (1 - FALL) * losses[0]
    if not fallen.any():
        return Range(None, None, float(rates[-1]))
    later = (losses > UNSTABLE * lowest) & (np.arange(len(losses)) > int(np.argmax(fallen)))
    unstable = int(np.argmax(later)) if later.any() else len(losses)
    best = int(np.argmin(losses[:unstable]))
    return Range(float(rates[best]), float(rates[unstable]) if later.any() else None, float(rates[-1]))


def full_rate_steps(found: list[Window], rate: float) -> int:
    """Steps at half the full rate or more: those of a warm-up or at the end of a decay need not move the loss."""
    return sum(window.steps for window in found if window.rate is None or window.rate >= 0.5 * rate)


def _flat(case: Case, found: list[Window]) -> str | None:
    """A loss that no longer falls at a rate that no longer changes, where no decay is to come."""
    schedule = case.config.schedule
    decays = schedule.name in ("cosine", "onecycle", "plateau") or (schedule.name == "step" and schedule.milestones)
    half = found[len(found) // 2 :]
    if decays or case.config.data.overfit or sum(window.steps for window in half) < FLAT_STEPS:
        return None
    rates = [window.rate for window in half if window.rate is not None]
    if rates and min(rates) < 0.5 * max(rates):
        return None
    middle = len(half) // 2
    third, last = (statistics.fmean(window.loss for window in part) for part in (half[:middle], half[middle:]))
    if last < (1 - FLAT) * third:
        return None
    return f"loss flat at {last:.3g} since step {half[0].first}, at a rate that does not fall"
