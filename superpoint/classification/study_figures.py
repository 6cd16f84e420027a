"""Tables and figures of a grid of runs, from their logs."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from superpoint.evaluation.tables import format_cell, make_table, markdown_table

LATE = 3  # epochs at the end whose mean is the result: a single one of 200 images swings by a percent


@dataclass(frozen=True)
class Outcome:
    """One run of a study.

    Attributes:
        group, label: panel and curve.
        epochs: passes over the training images.
        train_loss, train_accuracy: of the last epoch, on augmented images; None if diverged.
        test_accuracy: mean of the last three epochs.
        best_accuracy: highest of all epochs; too good, since the test images chose it.
        diverged: step at which the loss was not finite.
    """

    group: str
    label: str
    parameters: int
    epochs: float
    train_loss: float | None
    train_accuracy: float | None
    test_accuracy: float | None
    best_accuracy: float | None
    seconds: float
    diverged: int | None = None
    curve: Mapping[str, Sequence[float | None]] = field(default_factory=dict)  # epoch, test_accuracy, train_loss


def read_outcome(
    group: str, label: str, parameters: int, history: Sequence[Mapping[str, Any]], steps_an_epoch: int
) -> Outcome:
    lines = [entry for entry in history if entry["event"] == "validate" and entry.get("accuracy") is not None]
    broken = next((int(entry["step"]) for entry in history if entry["event"] == "nonfinite"), None)
    times = [float(entry["elapsed"]) for entry in history if isinstance(entry.get("elapsed"), (int, float))]
    scores = [float(entry["accuracy"]) for entry in lines]
    last = lines[-1] if lines else {}
    return Outcome(
        group, label, parameters,
        max((entry["step"] for entry in history), default=0) / steps_an_epoch,
        None if broken is not None else last.get("train_loss"),
        None if broken is not None else last.get("train_accuracy"),
        float(np.mean(scores[-LATE:])) if scores and broken is None else None,
        max(scores, default=None),
        max(times, default=0.0),
        broken,
        {
            "epoch": [entry["step"] / steps_an_epoch for entry in lines],
            "test_accuracy": scores,
            "train_loss": [entry.get("train_loss") for entry in lines],
        },
    )  # fmt: skip


NOTES = f"""- train loss, train accuracy: of the last epoch, on images as they were augmented.
- test accuracy: mean of the last {LATE} epochs. best: of the best epoch, chosen by these very test images.
- time: of training alone, on the machine at hand."""
HEADINGS = ("parameters", "epochs", "train loss", "train accuracy", "test accuracy", "best", "time")


def study_table(outcomes: Sequence[Outcome], title: str) -> Table:
    table = make_table(title, ["network", "run"], HEADINGS)
    for one in outcomes:
        test = f"diverged, step {one.diverged}" if one.diverged is not None else format_cell(one.test_accuracy)
        table.add_row(
            one.group, one.label, f"{one.parameters:,}", f"{one.epochs:.3g}", format_cell(one.train_loss),
            format_cell(one.train_accuracy), test, format_cell(one.best_accuracy), f"{one.seconds:.0f} s",
        )  # fmt: skip
    return table


def study_markdown(outcomes: Sequence[Outcome], title: str) -> str:
    return f"# {title}\n\n{markdown_table(study_table(outcomes, title))}\n{NOTES}\n"


def study_figure(outcomes: Sequence[Outcome], title: str) -> Figure:
    """Draw test accuracy above training loss over epochs: one column per group, one curve per run, dark to bright."""
    groups = list(dict.fromkeys(outcome.group for outcome in outcomes))
    width = max(3.9 * len(groups), 6.4)  # inches
    figure = Figure(figsize=(width, 7.0), dpi=100, layout="constrained")
    panels = figure.subplots(2, len(groups), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), group in zip(panels.T, groups, strict=True):
        chosen = [outcome for outcome in outcomes if outcome.group == group]
        # The bright end of the map is too faint on white.
        colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(chosen)))
        for outcome, color in zip(chosen, colors, strict=True):
            ended = format_cell(outcome.test_accuracy) if outcome.diverged is None else "diverged"
            for axes, key in ((upper, "test_accuracy"), (lower, "train_loss")):
                values = np.array(outcome.curve[key], np.float64)
                axes.plot(outcome.curve["epoch"], values, ".-", color=color, label=f"{outcome.label}: {ended}")
            if outcome.diverged is not None:
                upper.plot(outcome.epochs, 0.0, "x", color=color, ms=9, mew=2.5, clip_on=False)
        upper.set(title=group if len(groups) > 1 else "", ylim=(0, 1.02))
        lower.set(xlabel="epoch", yscale="log")
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2 if len(groups) == 1 else 1}
        lower.legend(title="test accuracy at the end", fontsize="small", title_fontsize="small", **place)
        for axes in (upper, lower):
            axes.grid(alpha=0.3, which="both")
    panels[0][0].set_ylabel("test accuracy (share of images)")
    panels[1][0].set_ylabel("training loss (nats, log scale)")
    figure.suptitle(textwrap.fill(title, round(10.5 * width)))
    return figure
