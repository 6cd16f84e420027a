"""Learning rate against momentum: what the loss curves of a grid of short runs say, as verdicts, table and figure.

Pure: curves in, numbers and pictures out. `stages.lr_study` makes the curves.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

VERDICTS = ("slow", "good", "oscillates", "diverged")
EXPLOSION = 3.0  # a loss of so many times the first one has diverged
OVERSHOOT = 1.2  # one that ever rises to so many times the first one has been thrown off by its rate
UNSTEADY = 0.1  # oscillation from which on a curve oscillates; healthy curves on a fixed batch stay below 0.04
TARGET = 0.25  # of the first loss. Half is reached by saying "no point" everywhere; a quarter needs places
SMOOTHING = 0.8  # decay of the moving average of the loss


@dataclass(frozen=True)
class Curve:
    """One short run.

    Attributes:
        rate: learning rate, constant over the run.
        momentum: of SGD.
        losses: of each step, all on the same batch; of a diverged run those before it.
        diverged: step at which the loss was not finite or above `EXPLOSION` times the first one, where the run was
            ended; None if it went through.
    """

    rate: float
    momentum: float
    losses: list[float]
    diverged: int | None = None


@dataclass(frozen=True)
class Row:
    """What `judge` finds in a curve.

    Attributes:
        final: last smoothed loss; None if diverged.
        steps: steps until the smoothed loss is at the target; None if it never was.
        oscillation: see the function of that name; None if diverged.
        highest: largest loss, as a multiple of the first one; None if diverged.
        verdict: the first that holds of
            diverged     the loss was not finite, or above 3 times the first one;
            oscillates   its oscillation is above 0.1, or `highest` above 1.2: thrown off at the start, it may well lie
                         still on a plateau afterwards;
            good         the smoothed loss ends at the target (a quarter of the first loss) or below;
            slow         it does not: the rate is too small, or the run too short for it.
        diverged: the step of that.
    """

    rate: float
    momentum: float
    final: float | None
    steps: int | None
    oscillation: float | None
    highest: float | None
    verdict: str
    diverged: int | None = None


def is_divergence(loss: float, first: float) -> bool:
    return not math.isfinite(loss) or loss > EXPLOSION * first


def smooth(losses: Sequence[float], decay: float = SMOOTHING) -> list[float]:
    """Exponential moving average without its bias towards 0 at the start."""
    average, smoothed = 0.0, []
    for step, loss in enumerate(losses):
        average = decay * average + (1 - decay) * loss
        smoothed.append(average / (1 - decay ** (step + 1)))
    return smoothed


def oscillation(losses: Sequence[float]) -> float:
    """Standard deviation of log(loss[i + 1] / loss[i]) over the last third of a curve of 6 steps or more.

    0.1 is a loss that jumps by about 10 % from step to step. Each difference is relative to the loss at its own place,
    not to the mean of all: a loss that falls by the same share at every step does not oscillate, however fast it is.
    Losses below 1e-4 count as 1e-4.
    """
    if len(losses) < 6:
        raise ValueError(f"losses: found {len(losses)} steps, expected at least 6")
    last = np.asarray(losses, float)[-(len(losses) // 3) :]
    return float(np.diff(np.log(last.clip(min=1e-4))).std())


def judge(curve: Curve, target: float = TARGET) -> Row:
    """The numbers and the verdict of `Row`; `target` is a share of the first loss."""
    if curve.diverged is not None:
        return Row(curve.rate, curve.momentum, None, None, None, None, "diverged", curve.diverged)
    wanted = target * curve.losses[0]
    smoothed, swing = smooth(curve.losses), oscillation(curve.losses)
    highest = max(curve.losses) / curve.losses[0]
    if swing > UNSTEADY or highest > OVERSHOOT:
        verdict = "oscillates"
    else:
        verdict = "good" if smoothed[-1] <= wanted else "slow"
    steps = next((step for step, loss in enumerate(smoothed) if loss <= wanted), None)
    return Row(curve.rate, curve.momentum, smoothed[-1], steps, swing, highest, verdict)


def lr_study_table(rows: Sequence[Row], title: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD)
    for heading in _headings():
        table.add_column(heading, justify="right" if heading != "verdict" else "left")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def lr_study_markdown(rows: Sequence[Row], title: str) -> str:
    """The same table, with the meaning of its columns below."""
    lines = [_headings(), ["---:"] * (len(_headings()) - 1) + ["---"], *map(_cells, rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"# {title}\n\n{table}\n\n{EXPLANATION}\n"


EXPLANATION = f"""Every step sees the same batch, so what a curve does is the optimiser's doing; the rate is constant,
gradients are not clipped.

- final loss: moving average (decay {SMOOTHING}) at the end.
- steps: until that average is {TARGET:g} of the first loss. Half of the first loss is reached by saying
  "no point" everywhere.
- oscillation: standard deviation of log(loss / loss of the step before) over the last third: 0.1 is 10 % a step.
- highest: largest loss over the first one.
- verdict: diverged, not finite or above {EXPLOSION:g} times the first loss; oscillates, oscillation above {UNSTEADY:g}
  or highest above {OVERSHOOT:g}; good, ends at the target or below; slow, does not."""


def lr_study_csv(rows: Sequence[Row]) -> str:
    """One line a run, full precision; what does not apply is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def lr_study_content(curves: Sequence[Curve], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Numbers and curves as JSON holds them; the losses of a diverged run end before that step, so all are finite."""
    return [asdict(row) | {"losses": curve.losses} for curve, row in zip(curves, rows, strict=True)]


def _headings() -> list[str]:
    return ["rate", "momentum", "final loss", "steps", "oscillation", "highest", "verdict"]


def _cells(row: Row) -> list[str]:
    verdict = row.verdict if row.diverged is None else f"{row.verdict}, step {row.diverged}"
    final, swing = ("-" if value is None else f"{value:.3f}" for value in (row.final, row.oscillation))
    highest = "-" if row.highest is None else f"{row.highest:.1f}"
    return [f"{row.rate:g}", f"{row.momentum:g}", final, str(row.steps or "-"), swing, highest, verdict]


def lr_study_figure(curves: Sequence[Curve], rows: Sequence[Row], title: str) -> Figure:
    """Loss over steps, log axis; a panel a momentum, a colour a rate (dark = small), a cross where a run diverged."""
    momenta = list(dict.fromkeys(curve.momentum for curve in curves))
    rates = sorted({curve.rate for curve in curves})
    figure = Figure(figsize=(max(4.2 * len(momenta), 5.5), 4.4), dpi=100, layout="constrained")
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
        axes.axhline(
            TARGET * first,
            color="0.4",
            linewidth=1,
            linestyle=(0, (1, 2)),
            label=f"target: {TARGET:g} of the first loss",
        )
        axes.set(title=f"momentum {momentum:g}", xlabel="step", yscale="log", ylim=(None, top))
        axes.grid(alpha=0.3, which="both")
        axes.legend(title="learning rate", loc="lower left", fontsize="small", title_fontsize="small")
    panels[0].set_ylabel("loss on the fixed batch (nats a cell)")
    figure.suptitle(title)
    return figure
