"""Judge, tabulate and draw the loss curves of short runs over learning rates and momenta."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from superpoint.evaluation.tables import format_cell

VERDICTS = ("slow", "good", "oscillates", "stuck", "diverged")
EXPLOSION = 3.0  # a loss of so many times the first one has diverged
UNSTEADY = 0.15  # oscillation from which on a curve oscillates; healthy curves on a fixed batch stay below 0.1
FLAT = 0.02  # share of itself by which a smoothed loss that lies still falls, at most, over the last third
MOVED = 0.1  # share of the first loss by which a curve must have left it; one that has not is slow, not stuck
TARGET = 0.25  # of the first loss. Half is reached by saying "no point" everywhere; a quarter needs places
SMOOTHING = 0.8  # decay of the moving average of the loss


@dataclass(frozen=True)
class Curve:
    """One short run of SGD at a constant rate.

    Attributes:
        losses: of each step, all on the same batch, up to a divergence.
        diverged: step at which the loss was not finite or above `EXPLOSION` times the first one; None otherwise.
    """

    rate: float
    momentum: float
    losses: list[float]
    diverged: int | None = None


@dataclass(frozen=True)
class Row:
    """What `judge` finds in a curve; EXPLANATION says what the numbers mean. None where diverged."""

    rate: float
    momentum: float
    verdict: str
    final: float | None = None
    steps: int | None = None
    oscillation: float | None = None
    highest: float | None = None
    diverged: int | None = None


def is_divergence(loss: float, first: float) -> bool:
    return not math.isfinite(loss) or loss > EXPLOSION * first


def smooth(losses: Sequence[float], decay: float = SMOOTHING) -> list[float]:
    """Return the exponential moving average without its bias towards 0 at the start."""
    average, smoothed = 0.0, []
    for step, loss in enumerate(losses):
        average = decay * average + (1 - decay) * loss
        smoothed.append(average / (1 - decay ** (step + 1)))
    return smoothed


def oscillation(losses: Sequence[float]) -> float:
    """Return how far a curve of 6 steps or more climbs above its lowest loss since the first third, as a share of it.

    Losses below 1e-4 count as 1e-4.
    """
    if len(losses) < 6:
        raise ValueError(f"losses: found {len(losses)} steps, expected at least 6")
    late = np.asarray(losses, float)[len(losses) // 3 :].clip(min=1e-4)
    return float((late / np.minimum.accumulate(late)).max() - 1)


def lies_still(losses: Sequence[float]) -> bool:
    """Return whether a curve has moved and falls no longer; see "stuck" in EXPLANATION."""
    smoothed, third = smooth(losses), len(losses) // 3
    moved = max(abs(loss - losses[0]) for loss in losses) > MOVED * losses[0]
    return moved and smoothed[-1] > (1 - FLAT) * smoothed[-1 - third]


def judge(curve: Curve) -> Row:
    """Return the numbers and the verdict of a curve."""
    if curve.diverged is not None:
        return Row(curve.rate, curve.momentum, "diverged", diverged=curve.diverged)
    wanted = TARGET * curve.losses[0]
    smoothed, swing = smooth(curve.losses), oscillation(curve.losses)
    if swing > UNSTEADY:
        verdict = "oscillates"
    elif smoothed[-1] <= wanted:
        verdict = "good"
    else:
        verdict = "stuck" if lies_still(curve.losses) else "slow"
    steps = next((step for step, loss in enumerate(smoothed) if loss <= wanted), None)
    highest = max(curve.losses) / curve.losses[0]
    return Row(curve.rate, curve.momentum, verdict, smoothed[-1], steps, swing, highest)


def lr_study_table(rows: Sequence[Row], title: str) -> Table:
    """Return a table of one row per run; EXPLANATION says what its columns mean."""
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("rate", "momentum", "final loss", "steps", "oscillation", "highest"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for row in rows:
        table.add_row(
            f"{row.rate:g}",
            f"{row.momentum:g}",
            format_cell(row.final),
            str(row.steps or "-"),
            format_cell(row.oscillation),
            format_cell(row.highest, ".1f"),
            row.verdict if row.diverged is None else f"{row.verdict}, step {row.diverged}",
        )
    return table


EXPLANATION = f"""Every step sees the same batch, so a curve shows the optimiser alone; the rate is constant, no
gradient is clipped.

- final loss: moving average (decay {SMOOTHING}) at the end.
- steps: until that average is {TARGET:g} of the first loss, the target. Half of the first loss is reached by saying
  "no point" everywhere.
- oscillation: by how much the loss climbs back above the lowest value since the first third of the run: 0.15 is 15 %.
- highest: largest loss over the first one.
- verdict, the first that holds:
  - diverged: the loss was not finite, or above {EXPLOSION:g} times the first one.
  - oscillates: the oscillation is above {UNSTEADY:g}.
  - good: the average ends at the target or below.
  - stuck: above the target the average lies still: over the last third it has fallen by less than {FLAT:.0%}, though
    the loss had left its first value by more than {MOVED:.0%}. As a rule a first jump has killed what had to be learnt.
  - slow: the loss still falls: the rate is too small, or the run too short for it."""


def lr_study_figure(curves: Sequence[Curve], rows: Sequence[Row], title: str) -> Figure:
    """Draw loss over steps: one panel per momentum, one colour per rate (dark = small), a cross at a divergence."""
    momenta = list(dict.fromkeys(curve.momentum for curve in curves))
    rates = sorted({curve.rate for curve in curves})
    figure = Figure(figsize=(max(4.2 * len(momenta), 5.5), 5.4), dpi=100, layout="constrained")
    panels = figure.subplots(1, len(momenta), sharex=True, sharey=True, squeeze=False)[0]
    first = curves[0].losses[0]
    top = EXPLOSION * first
    # The bright end of the map is too faint on white.
    colors = dict(zip(rates, matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(rates))), strict=True))
    dashes = {rate: ("-", "--", "-.", ":")[index % 4] for index, rate in enumerate(rates)}
    for axes, momentum in zip(panels, momenta, strict=True):
        for curve, row in zip(curves, rows, strict=True):
            if curve.momentum != momentum:
                continue
            color, losses = colors[curve.rate], curve.losses
            label = f"{curve.rate:g}: {row.verdict}"
            axes.plot(losses, dashes[curve.rate], color=color, linewidth=1.7, label=label)
            if curve.diverged is not None:
                axes.plot([curve.diverged - 1, curve.diverged], [losses[-1], top], dashes[curve.rate], color=color)
                axes.plot(curve.diverged, top, "x", color=color, markersize=9, markeredgewidth=2.5, clip_on=False)
        label = f"target: {TARGET:g} of the first loss"
        axes.axhline(TARGET * first, color="0.4", linewidth=1, linestyle=(0, (1, 2)), label=label)
        axes.set(title=f"momentum {momentum:g}", xlabel="step", yscale="log", ylim=(None, top))
        axes.grid(alpha=0.3, which="both")
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 2}  # below, where no curve runs
        axes.legend(title="learning rate", fontsize="small", title_fontsize="small", **place)
    panels[0].set_ylabel("loss on the fixed batch (nats a cell)")
    figure.suptitle(title)
    return figure
