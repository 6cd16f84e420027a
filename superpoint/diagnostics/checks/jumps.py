"""Check gradient_jump: where a run was thrown off course by gradients or momentum."""

import math
import statistics
from dataclasses import dataclass

from superpoint.config import MagicPointConfig, SuperPointConfig
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
from superpoint.losses.position import REACH

# Healthy figures are those of the quick and the default recipe (AdamW, 2,000 to 5,000 steps, batches of 4 and 8).
WORSE_THAN_CHANCE = 1.25  # loss of a step over that of even odds. Healthy: 1.00, at the first step
JUMP_UP = 2.0  # loss of a window over the median of the five before. Healthy: up to 1.5
JUMP_DOWN = 0.4  # the same after five level windows. Healthy: 0.73 and more
JUMP_MIN = 0.2  # nats; smaller changes of a loss near 0 are noise
LEVEL = 1.5  # highest over lowest of five windows that count as level
RECOVERED = 1.3  # loss at the end over that before the jump
GRADIENT_JUMP = 20.0  # gradient norm of a step over the median of the five windows before. Healthy: up to 7


@dataclass(frozen=True)
class Jump:
    """A sudden change, its step, and whether the run recovered."""

    text: str
    step: int
    recovered: bool
    down: bool = False


def gradient_jump(case: Case) -> Finding:
    """Is there a loss worse than chance, or a sudden jump or drop of loss or gradient norm?"""
    found = windows(case)
    jump = (
        _worse_than_chance(case, found) or _blown_up(case) or _jump_up(found) or _drop(found) or _gradient_peak(found)
    )
    if jump is None:
        evidence = "No training steps logged yet: nothing to judge."
        if found:
            highest, jumps = max(window.loss_max for window in found), _ratios(found)
            ratio = f", at most {max(jumps):.2f} times the median before it" if jumps else ""
            evidence = f"Highest loss {highest:.2f}{ratio} (expected below {JUMP_UP:g})."
        return Finding("gradient_jump", Status.PASS, evidence)
    optimizer, train = case.config.optimizer, case.config.train
    remedy = f"divide optimizer.lr by 10 (now {optimizer.lr:g})"
    if optimizer.name == "sgd" and optimizer.momentum > 0:
        remedy += f" or lower optimizer.momentum (now {optimizer.momentum:g})"
    if train.clip_norm == 0:
        remedy += ", set train.clip_norm=1"
    if case.config.schedule.warmup < 0.02:
        remedy += ", set schedule.warmup=0.02"
    if jump.recovered:
        remedy += f"; if it happens again at one step only, look at the samples of step {jump.step}"
    status = Status.WARN if jump.recovered else Status.FAIL
    cause = f"steps too large: {_step_size(case)}"
    if jump.down:
        cause = "the data or the labels changed at that step, or the run was resumed with other settings"
        if (late_mean(found, "recall") or 0.0) < LEARNING / 4:
            cause = "one large step, or momentum built up over several, threw the network onto predicting no points"
    return Finding("gradient_jump", status, sentence(jump.text), sentence(cause), sentence(remedy))


def _step_size(case: Case) -> str:
    optimizer, clip = case.config.optimizer, case.config.train.clip_norm
    if optimizer.name != "sgd":
        text = f"{optimizer.name} moves every weight by about {optimizer.lr:g} a step"
        return f"{text}, whatever train.clip_norm" if clip > 0 else text
    text = f"SGD at {optimizer.lr:g}"
    if optimizer.momentum > 0:
        total = optimizer.lr / (1 - optimizer.momentum)
        text += f" with momentum {optimizer.momentum:g} adds up to {total:g} times a gradient"
    return f"{text}; train.clip_norm={clip:g} bounds the gradient, not this factor" if clip > 0 else text


def _worse_than_chance(case: Case, found: list[Window]) -> Jump | None:
    """Return a loss above even odds: a confident wrong answer, which no untrained network gives."""
    chance = loss_of_chance(case.config, case.chance)
    if chance is None:
        return None
    limit = WORSE_THAN_CHANCE * max(initial_loss_of(case) or 0.0, chance)
    window = next((window for window in found if window.loss_max > limit), None)
    if window is None:
        return None
    step, text = window.last, f"loss {window.loss_max:.3g} in {window.span}"
    if window.jump is not None and window.jump_step is not None:
        # The largest change is the one up to the peak or the one back down from it.
        step = window.jump_step if window.jump > 0 else window.jump_step - 1
        text = f"loss {window.loss_max:.3g} about step {step}"
    odds = "all that is asked" if isinstance(case.config, SuperPointConfig) else "65 classes"
    text += f", worse than even odds over {odds} ({chance:.2f})"
    worst = max(found, key=lambda window: window.loss_max)
    if worst is not window:
        text += f"; later up to {worst.loss_max:.3g} in {worst.span}"
    recall = late_mean(found, "recall")
    return Jump(text, step, recovered=found[-1].loss < 0.5 * limit and recall is not None and recall > LEARNING)


def loss_of_chance(config: MagicPointConfig, detector: float) -> float | None:
    """Return the loss of a network that prefers nothing; None for the hinges, which have no such value.

    In joint training: even odds over 65 classes (`detector`), and over the correspondences; and shared keypoints as far
    apart as the position loss looks.
    """
    if not isinstance(config, SuperPointConfig):
        return detector
    descriptor = config.descriptor
    if descriptor.balance == "auto":  # the descriptor loss counts as `weight` times the detector loss
        part = detector
    elif descriptor.name == "dual_softmax":
        part = math.log(config.data.rows)
    else:
        return None
    return detector + descriptor.weight * part + config.position * REACH


def _blown_up(case: Case) -> Jump | None:
    """Return the jump of a run that ended with NaN before its log shows one, and whose kernels have grown."""
    growth = largest_growth(case)
    if case.ended_by is None or growth < GROWN:
        return None
    step = int(case.ended_by["step"])
    size = f"{growth:.3g} times their initial norm" if math.isfinite(growth) else "not finite"
    return Jump(f"loss not finite at step {step}, and the kernels are {size} (healthy: 1 to 2)", step, recovered=False)


def _ratios(found: list[Window]) -> list[float]:
    """Return the loss of each window from the fourth on over the median of up to five before it."""
    return [
        found[i].loss / max(statistics.median(w.loss for w in found[max(0, i - 5) : i]), 1e-9)
        for i in range(3, len(found))
    ]


def _gradient_ratios(found: list[Window]) -> list[float]:
    """Return the largest gradient of each such window over the median of the means before it."""
    ratios = []
    for i in range(3, len(found)):
        before = [w.gradient for w in found[max(0, i - 5) : i] if w.gradient is not None]
        peak = found[i].gradient_max
        ratios.append(peak / max(statistics.median(before), 1e-9) if before and peak is not None else 0.0)
    return ratios


def _jump_up(found: list[Window]) -> Jump | None:
    """Return the first window whose loss is far above that of the five before it."""
    for i, ratio in enumerate(_ratios(found), 3):
        before, now = found[i].loss / ratio, found[i]
        if ratio > JUMP_UP and now.loss - before > JUMP_MIN:
            step = now.jump_step if now.jump_step is not None and (now.jump or 0) > 0 else now.last
            text = f"loss {now.loss:.2f} in {now.span}, {ratio:.1f} times the {before:.2f} before; step {step}"
            later = late_mean(found[i + 1 :], "loss", 3)
            return Jump(text, step, recovered=later is not None and later < RECOVERED * before)
    return None


def _drop(found: list[Window]) -> Jump | None:
    for i in range(5, len(found)):
        before, now = [window.loss for window in found[i - 5 : i]], found[i]
        level = statistics.median(before)
        if max(before) < LEVEL * min(before) and now.loss < JUMP_DOWN * level and level - now.loss > JUMP_MIN:
            step = now.jump_step if now.jump_step is not None and (now.jump or 0) < 0 else now.first + 1
            text = f"loss fell from a level {level:.2f} to {now.loss:.2f} within {now.span}; step {step}"
            return Jump(text, step, recovered=(late_mean(found, "recall") or 0.0) > LEARNING, down=True)
    return None


def _gradient_peak(found: list[Window]) -> Jump | None:
    """Return the first gradient far above the five windows before it, which the loss did not show."""
    for i, ratio in enumerate(_gradient_ratios(found), 3):
        if ratio > GRADIENT_JUMP:
            text = f"gradient norm {found[i].gradient_max:.3g} in {found[i].span}, {ratio:.0f} times the median before"
            return Jump(text, found[i].last, recovered=True)
    return None
