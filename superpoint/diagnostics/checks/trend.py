"""Train lines in windows of equal weight, and the growth of the weights.

A line of the log is the mean over `train.log_every` steps. Losses of single steps at a batch of 4 differ by a factor
of 3, so lines are joined until a window holds at least WINDOW steps.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superpoint.diagnostics.case import Case, kept

WINDOW = 20  # steps; the default of train.log_every
GROWN = 3.0  # norm of the kernels over that of fresh ones. Healthy: 1.0 to 1.8; SGD at ten times the best rate: 3.5
# Recall of the cells with a point. Healthy: above 0.3 after 300 steps; on the dustbin plateau below 0.05.
LEARNING = 0.2


@dataclass(frozen=True)
class Window:
    """Means over the steps first + 1 .. last; None where not logged or not finite."""

    first: int
    last: int
    loss: float
    loss_max: float  # of a step
    jump: float | None  # largest change of the loss from one step to the next, with its sign
    jump_step: int | None  # the later of these two steps
    gradient: float | None  # gradient norm before clipping
    gradient_max: float | None  # of a step, or of a line where steps are not logged
    recall: float | None  # share of the cells with a point that the network does not call empty
    rate: float | None  # learning rate at the end

    @property
    def steps(self) -> int:
        return self.last - self.first

    @property
    def span(self) -> str:
        return f"steps {self.first + 1}-{self.last}"


def sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def number(entry: Mapping[str, Any], key: str) -> float | None:
    """Return entry[key] if it is a finite number (null stands for NaN and infinity)."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def windows(case: Case) -> list[Window]:
    """Return the train lines of a history in windows of at least WINDOW steps.

    Lines without a loss are left out, and so are a few steps at the end.
    """
    found: list[Window] = []
    waiting: list[tuple[int, Mapping[str, Any]]] = []
    count = step = 0
    for entry in case.events("train"):
        first, step = step, int(entry["step"])
        if number(entry, "loss") is None or step <= first:
            continue
        waiting.append((step - first, entry))
        count += step - first
        if count >= WINDOW:
            found.append(_join(waiting))
            waiting, count = [], 0
    return found if found or not waiting else [_join(waiting)]


def _join(lines: Sequence[tuple[int, Mapping[str, Any]]]) -> Window:
    steps, entries = zip(*lines, strict=True)

    def values(*keys: str) -> list[float]:
        return [value for key in keys for entry in entries if (value := number(entry, key)) is not None]

    def mean(key: str) -> float | None:
        found = values(key)
        return float(np.average(found, weights=steps)) if len(found) == len(entries) else None

    peak = max(entries, key=lambda entry: abs(number(entry, "loss_jump") or 0.0))
    peak_step = number(peak, "loss_jump_step")
    return Window(
        first=int(entries[0]["step"]) - steps[0],
        last=int(entries[-1]["step"]),
        loss=mean("loss") or 0.0,
        loss_max=max(values("loss", "loss_max")),
        jump=number(peak, "loss_jump"),
        jump_step=None if peak_step is None else int(peak_step),
        gradient=mean("grad_norm"),
        gradient_max=max(values("grad_norm_max"), default=mean("grad_norm")),
        recall=mean("recall"),
        rate=number(entries[-1], "lr"),
    )


def late_mean(found: Sequence[Window], name: str, count: int = 5) -> float | None:
    """Return the mean of a quantity over the last windows that have it."""
    values = [getattr(window, name) for window in found if getattr(window, name) is not None][-count:]
    return statistics.fmean(values) if values else None


def initial_loss_of(case: Case) -> float | None:
    return next((number(entry, "loss") for entry in case.events("initial_loss")), None)


@kept
def largest_growth(case: Case) -> float:
    """Return `kernel_growth` of the network or, after a NaN, of the weights that met it."""
    crash = case.last_crash()
    states = [case.model.state_dict()] + ([crash.weights] if crash else [])
    return max(kernel_growth(case, state) for state in states)


def kernel_growth(case: Case, state: Mapping[str, Tensor]) -> float:
    """Return the norm of all kernels of `state` over fresh ones (He et al. 2015), infinite if not finite.

    Batch norm hides the scale of the kernels before it: at too high a rate they grow until steps become small.
    """
    growth = _kernel_norm(state) / max(_kernel_norm(case.fresh("kaiming").state_dict()), 1e-12)
    return growth if math.isfinite(growth) else math.inf


def _kernel_norm(state: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float(torch.sum(kernel.double() ** 2)) for kernel in state.values() if kernel.ndim == 4))
