"""What the history checks have in common: the train lines in windows of equal weight, and the growth of the weights.

A line of the log is the mean over `train.log_every` steps. The loss of one step at a batch of 4 easily differs by a
factor of 3 from the next (how many points its scenes hold), so single lines of a finely logged run say nothing: they
are put together until a window holds at least WINDOW steps.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from superpoint.config import MagicPointConfig
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.crash import Crash, read_crash
from superpoint.geometry.cells import CHANNELS, DUSTBIN
from superpoint.models import build_model

WINDOW = 20  # steps; the default of train.log_every
GROWN = 3.0  # norm of the kernels over that of fresh ones. Healthy: 1.0 to 1.8; SGD at ten times the best rate: 3.5
LEARNING = (
    0.2  # recall of the cells with a point. Healthy: above 0.3 after 300 steps; on the dustbin plateau below 0.05
)


@dataclass(frozen=True)
class Window:
    """Means over the steps first + 1 .. last; None where the run did not log it (old runs) or it was not finite."""

    first: int
    last: int
    loss: float
    loss_max: float  # of a step; of a line in old runs
    jump: float | None  # largest change of the loss from one step to the next, with its sign
    jump_step: int | None  # the later of these two steps
    gradient: float | None  # gradient norm before clipping
    gradient_max: float | None
    recall: float | None  # share of the cells with a point that the network does not call empty
    dustbin: float | None  # mean dustbin probability
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
    """entry[key] if it is a finite number (JSON's null stands for NaN and infinity)."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def windows(case: Case, least: int = WINDOW) -> list[Window]:
    """The train lines of a history, put together to windows of at least `least` steps; lines without a loss are left
    out, and so are steps at the end that do not fill a window (unless they are all there is).
    """
    lines: list[Window] = []
    step = 0
    for entry in case.events("train"):
        first, step = step, int(entry["step"])
        loss = number(entry, "loss")
        if loss is None or step <= first:
            continue
        highest, jump_step = number(entry, "loss_max"), number(entry, "loss_jump_step")
        lines.append(
            Window(
                first,
                step,
                loss,
                loss if highest is None else highest,
                number(entry, "loss_jump"),
                None if jump_step is None else int(jump_step),
                number(entry, "grad_norm"),
                number(entry, "grad_norm_max"),
                number(entry, "positive_recall"),
                number(entry, "dustbin"),
                number(entry, "lr"),
            )
        )
    found: list[Window] = []
    waiting: list[Window] = []
    for line in lines:
        waiting.append(line)
        if sum(window.steps for window in waiting) >= least:
            found.append(_join(waiting))
            waiting = []
    return found if found or not waiting else [_join(waiting)]


def _join(parts: Sequence[Window]) -> Window:
    total = sum(part.steps for part in parts)

    def mean(name: str) -> float | None:
        values = [getattr(part, name) for part in parts]
        return None if None in values else sum(v * part.steps for v, part in zip(values, parts, strict=True)) / total

    loss = mean("loss")
    assert loss is not None
    largest = max(parts, key=lambda part: abs(part.jump or 0.0))
    peaks = [part.gradient_max for part in parts if part.gradient_max is not None]
    return Window(
        parts[0].first,
        parts[-1].last,
        loss,
        max(part.loss_max for part in parts),
        largest.jump,
        largest.jump_step,
        mean("gradient"),
        max(peaks, default=None),
        mean("recall"),
        mean("dustbin"),
        parts[-1].rate,
    )


def late_mean(found: Sequence[Window], name: str, count: int = 5) -> float | None:
    """Mean of a quantity over the last windows that have it."""
    values = [getattr(window, name) for window in found if getattr(window, name) is not None][-count:]
    return statistics.fmean(values) if values else None


def expected_initial_loss(config: MagicPointConfig) -> float:
    """The ln 65 of even odds; with focal loss times the factor (1 - 1/65)^gamma."""
    return math.log(CHANNELS) * (DUSTBIN / CHANNELS) ** config.loss.focal_gamma


def initial_loss_of(case: Case) -> float | None:
    """The loss that the run logged before its first update."""
    return next((number(entry, "loss") for entry in case.events("initial_loss")), None)


def largest_growth(case: Case) -> float:
    """`kernel_growth` of the network and, where the run ended with NaN, of the weights that met it."""
    states = [case.model.state_dict()]
    crash = last_crash(case)
    if crash is not None:
        states.append(crash.weights)
    return max(kernel_growth(case.config, state) for state in states)


def last_crash(case: Case) -> Crash | None:
    """What the run kept of the step that ended it with NaN or infinity; None if it did not, or kept nothing."""
    if case.folder is None or not case.history or case.history[-1]["event"] != "nonfinite":
        return None
    path = case.folder / str(case.history[-1].get("file"))
    return read_crash(path) if path.is_file() else None


def kernel_growth(config: MagicPointConfig, state: Mapping[str, Tensor]) -> float:
    """Norm of all kernels of `state` over that of a freshly drawn network (He et al. 2015), infinite if not finite.

    Batch norm makes the output independent of the scale of the kernels before it. A rate that is too high therefore
    does not always show in the loss: the kernels grow until the steps are small beside them.
    """
    fresh = build_model(replace(config.model, init="kaiming"), config.seed, pretrained=False).state_dict()
    growth = kernel_norm(state) / kernel_norm(fresh)
    return growth if math.isfinite(growth) else math.inf


def kernel_norm(state: Mapping[str, Tensor]) -> float:
    """Euclidean norm of all tensors with four axes, in float64."""
    kernels = [tensor.double() for tensor in state.values() if tensor.ndim == 4]
    return math.sqrt(sum(float(torch.sum(kernel * kernel)) for kernel in kernels))
