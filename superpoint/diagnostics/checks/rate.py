"""Check learning_rate: too high, too low, or without decay."""

import math
import statistics
from dataclasses import dataclass

import numpy as np

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.trend import (
    GROWN,
    LEARNING,
    Window,
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
FINDS = 0.1  # recall of a run from trained weights that is not frozen; .14 with a position loss of weight 8
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
class RateEvidence:
    """The rate of a run, the loss by the last windows, and the result of a range test.

    best, unstable: rates at its lowest loss and at the first unstable one.
    steps: at half the full rate or more: others need not move the loss.
    """

    rate: float
    initial: float
    found: list[Window]
    loss: float | None
    steps: int
    tested: bool
    best: float | None = None
    unstable: float | None = None
    end: float = 0.0  # highest rate that was tried

    @property
    def too_high(self) -> bool:
        return self.unstable is not None and self.rate > TOO_HIGH * self.unstable

    @property
    def too_low(self) -> bool:
        return self.best is not None and self.rate < TOO_LOW * self.best

    @property
    def start(self) -> str:
        return f"start from {self.best / 10:.1g}" if self.best else "find a start by `superpoint find-lr`"

    @property
    def text(self) -> str:
        text = f"rate {self.rate:g}"
        if self.tested and self.best is None:
            text += f"; range test: no rate up to {self.end:.1g} makes its loss fall"
        elif self.tested:
            upper = f", unstable from {self.unstable:.1g}" if self.unstable else ""
            text += f"; range test: lowest loss at {self.best:.1g}{upper}"
        if self.loss is None:
            return f"{text}; no training steps logged yet"
        return f"{text}; loss {self.initial:.2f} -> {self.loss:.3g} in {self.found[-1].last} steps"

    def finding(self, status: Status, evidence: str = "", cause: str = "", remedy: str = "") -> Finding:
        text = sentence(self.text + evidence)
        return Finding("learning_rate", status, text, sentence(cause), sentence(remedy))


def _evidence(case: Case) -> RateEvidence:
    """Return what history and range test of a case say about its rate; a range test needs 5 points."""
    found, rate = windows(case), case.config.optimizer.lr
    logged = initial_loss_of(case) or 0.0
    steps = sum(window.steps for window in found if window.rate is None or window.rate >= 0.5 * rate)
    seen = (rate, logged if logged > 0 else case.chance, found, late_mean(found, "loss"), steps)
    if case.rate_curve is None or len(case.rate_curve[0]) < 5:
        return RateEvidence(*seen, tested=False)
    rates, losses = (np.asarray(values, np.float64) for values in case.rate_curve)
    end, fallen = float(rates[-1]), losses < (1 - FALL) * losses[0]
    if not fallen.any():
        return RateEvidence(*seen, tested=True, end=end)
    later = losses > UNSTABLE * np.minimum.accumulate(losses)
    later &= np.arange(len(losses)) > int(np.argmax(fallen))
    first = int(np.argmax(later)) if later.any() else len(losses)
    unstable = float(rates[first]) if later.any() else None
    return RateEvidence(*seen, tested=True, best=float(rates[np.argmin(losses[:first])]), unstable=unstable, end=end)


def learning_rate(case: Case) -> Finding:
    """Is the rate too high, too low, or without decay on a plateau?"""
    seen, config, growth = _evidence(case), case.config, largest_growth(case)
    found, start, finding = seen.found, seen.start, seen.finding
    recall = late_mean(found, "recall")

    if growth > GROWN:
        size = f"{growth:.3g} times" if math.isfinite(growth) else "beyond any number of times"
        cause = "rate too high: every update overshoots, so the kernels grow, which batch norm hides from the loss"
        evidence = f"; kernels grown to {size} their initial norm (healthy: 1 to 2)"
        return finding(Status.FAIL, evidence, cause, f"divide optimizer.lr by 10 or more ({start}) and train anew")
    if seen.tested and seen.best is None:
        cause = "not the rate: the loss does not respond to the weights (labels, loss or a gradient that is cut)"
        return finding(Status.FAIL, "", cause, "look at `labels` and `initial_loss` first; overfit a single image")
    learning = recall is not None and recall > LEARNING
    # A run that starts from trained weights starts low, and its loss rises with the curriculum: what it finds tells.
    warm = getattr(config, "weights", None) is not None  # a matcher starts from none
    finds = warm and recall is not None and recall > FINDS
    frozen = seen.loss is not None and seen.loss > FROZEN * seen.initial and not finds
    if frozen and seen.steps >= FROZEN_STEPS:
        ended = bool(case.events("finished")) or seen.steps >= JUDGED_STEPS
        return finding(Status.FAIL if ended else Status.WARN, "", *_frozen(seen))
    if seen.too_low and (frozen or not found):
        cause = "rate too low: thousands of steps will hardly move the weights"
        return finding(Status.FAIL if found else Status.WARN, "", cause, start)
    if seen.too_high and not learning:
        status = Status.FAIL if found and seen.steps >= JUDGED_STEPS else Status.WARN
        cause = "rate too high: beyond the rate at which the loss gets unstable"
        return finding(status, "", cause, f"{start}; schedule.warmup=0.02, train.clip_norm=1")
    if flat := _flat(case, found):
        cause = f"the schedule ({config.schedule.name}) keeps the rate up: the weights circle about a minimum"
        remedy = "set schedule.name=cosine (or step with schedule.milestones) and resume with a larger budget"
        return finding(Status.WARN, flat, cause, remedy)
    young = f" (too few at this rate to judge by the loss: {seen.steps} of {FROZEN_STEPS})"
    return finding(Status.PASS, young if frozen else "")


def _frozen(seen: RateEvidence) -> tuple[str, str]:
    if seen.best is None or seen.rate <= 0.03 * seen.best:
        return "rate too low: the weights have hardly moved", f"raise optimizer.lr: {seen.start}"
    cause = "not the rate, by the range test: the loss does not respond as it does on fresh weights"
    if (seen.loss or 0.0) > DOUBLE_SOFTMAX - 0.02:
        cause += f"; if softmax is taken twice the loss cannot fall below {DOUBLE_SOFTMAX:.2f}"
    return cause, "check that the loss gets logits, that no layer is frozen and that the optimiser has all parameters"


def _flat(case: Case, found: list[Window]) -> str:
    """Return the words for a flat loss at a constant rate with no decay to come, else none."""
    schedule = case.config.schedule
    decays = schedule.name in ("cosine", "onecycle", "plateau") or (schedule.name == "step" and schedule.milestones)
    half = found[len(found) // 2 :]
    if decays or case.config.data.overfit or sum(window.steps for window in half) < FLAT_STEPS:
        return ""
    rates = [window.rate for window in half if window.rate is not None]
    if rates and min(rates) < 0.5 * max(rates):
        return ""
    middle = len(half) // 2
    third, last = (statistics.fmean(window.loss for window in part) for part in (half[:middle], half[middle:]))
    if last < (1 - FLAT) * third:
        return ""
    return f"; loss flat at {last:.3g} since step {half[0].first}, at a rate that does not fall"
