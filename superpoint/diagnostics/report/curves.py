"""Small plots of the report: numbers in, SVG out. Titles and legends are the page's, so no name reaches matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from superpoint.visualize import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

Color = tuple[int, int, int]
ORDER: tuple[Color, ...] = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)  # yellow is too faint on white
DASHES: tuple[tuple[float, ...], ...] = ((), (5.0, 2.5), (1.5, 1.8), (7.0, 2.0, 1.5, 2.0))  # SVG's unit: CSS pixels
WIDTH, HEIGHT = 388, 236  # CSS pixels: three panels beside each other on a page 1200 wide, one on a telephone
MOST_POINTS = 400  # of a curve, about the pixels of its axis; longer ones are averaged
SMOOTHED_FROM = 50  # points from which a noisy curve gets a mean drawn over it
WINDOW = 25  # that mean covers 1 / WINDOW of the points
LOG_FROM = 5.0  # largest over smallest value from which a logarithmic axis is worth it
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#7a7a7a",
    "axes.labelcolor": "#333333",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "path.simplify": True,
    "svg.fonttype": "path",  # the same on every machine
    "svg.hashsalt": "superpoint",  # and in every process
}


@dataclass(frozen=True)
class Curve:
    """Values over x, NaN where there is none; `index` chooses colour and dashes, which no two below 12 share.

    noisy: of a long curve draw the moving mean, and if `faint` the values thin (or their range) below it. steps: hold
    each value back to the one before, as in a precision-recall envelope.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    index: int = 0
    noisy: bool = False
    faint: bool = True
    steps: bool = False

    @property
    def color(self) -> Color:
        return ORDER[self.index % len(ORDER)]

    @property
    def dashes(self) -> tuple[float, ...]:
        return DASHES[self.index % len(DASHES)]

    def ends(self) -> tuple[float, float] | None:
        """The first and the last finite value."""
        finite = [value for value in self.y if math.isfinite(value)]
        return (finite[0], finite[-1]) if finite else None


@dataclass(frozen=True)
class Panel:
    """Curves with common axes.

    Attributes:
        title: what is shown.
        unit: label of the y axis.
        log: logarithmic y axis, if the values span enough for it.
        level: a value to mark by a dotted line, such as the loss of an untrained network.
        marks: x to mark by a vertical line, such as the best validation.
        limits: of the y axis; None = those of the data.
        x_end: where the x axis ends at the least, so that panels beside each other have the same.
        note: sentence below the title.
    """

    title: str
    unit: str
    curves: Sequence[Curve]
    log: bool = False
    level: float | None = None
    marks: Sequence[float] = ()
    limits: tuple[float | None, float | None] | None = None
    x_label: str = "step"
    x_end: float | None = None
    note: str = ""

    @property
    def drawn(self) -> bool:
        """Whether there is a value to draw."""
        return any(curve.ends() for curve in self.curves)

    @property
    def logarithmic(self) -> bool:
        finite = [value for curve in self.curves for value in curve.y if math.isfinite(value)]
        return self.log and bool(finite) and min(finite) > 0 and max(finite) >= LOG_FROM * min(finite)

    def description(self) -> str:
        """The panel in words, for those who cannot see it."""
        parts = []
        for curve in self.curves:
            ends = curve.ends()
            if ends:
                parts.append(f"{curve.name}: from {ends[0]:.3g} to {ends[1]:.3g}")
        return f"{self.title} over {self.x_label} up to {self.last:,.6g}. {'; '.join(parts)}."

    @property
    def last(self) -> float:
        """Where the x axis ends."""
        return max([curve.x[-1] for curve in self.curves if len(curve.x)] + [self.x_end or 0.0])


def thin_out(
    x: Sequence[float], y: Sequence[float], most: int = MOST_POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most `most` points of a curve: means over equal groups of neighbours, NaN left out of them."""
    steps, values = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(steps) <= most:
        return steps, values
    groups = np.array_split(np.arange(len(steps)), most)
    finite = np.isfinite(values)
    means = [values[group][finite[group]].mean() if finite[group].any() else np.nan for group in groups]
    return np.array([steps[group].mean() for group in groups]), np.array(means)


def extremes(y: Sequence[float], most: int = MOST_POINTS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and largest of the same groups: a spike that the mean hides. NaN where a group has no finite value."""
    values = np.asarray(y, np.float64)
    groups = [group[np.isfinite(group)] for group in np.array_split(values, min(most, len(values)))]
    low, high = ([bound(group) if len(group) else np.nan for group in groups] for bound in (np.min, np.max))
    return np.array(low), np.array(high)


def moving_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a centred window of 1 / WINDOW of the points (an odd number, fewer at the ends), NaN left out."""
    half = max(1, len(values) // WINDOW // 2)
    kernel = np.ones(2 * half + 1)
    finite = np.isfinite(values)
    total = np.convolve(np.where(finite, values, 0.0), kernel, "same")
    count = np.convolve(finite.astype(float), kernel, "same")
    return np.where(finite, total / np.maximum(count, 1), np.nan)


def draw_panel(panel: Panel, *, width: int = WIDTH, height: int = HEIGHT) -> str:
    """The panel as an SVG document of width x height CSS pixels."""

    def draw(axes: Axes) -> None:
        for curve in panel.curves:
            _draw_curve(axes, curve)
        _scale_axes(axes, panel)
        if panel.level is not None:
            axes.axhline(panel.level, color="#777777", linewidth=0.9, linestyle=(0, (1, 2)))
        for mark in panel.marks:
            axes.axvline(mark, color="#777777", linewidth=0.9, linestyle=(0, (4, 2)))
        axes.set_xlabel(panel.x_label)
        axes.set_ylabel(f"{panel.unit} (log scale)" if panel.logarithmic else panel.unit, parse_math=False)
        axes.yaxis.set_label_coords(-57 / (width - 84), 0.5)

    return _svg(draw, width, height, (70, 14, 10, 42))


def draw_matrix(
    values: NDArray[np.float64], rows: Sequence[str], steps: Sequence[float], unit: str, *, log: bool, name: str
) -> str:
    """Values [rows, columns] as colours with a colour bar; not finite is white.

    Args:
        rows: names, from top to bottom.
        steps: where each column begins; it reaches to the next.
        log: colours follow the logarithm; values that are not positive are white. Otherwise they begin at 0 if no value
            is negative.
        name: of the colour map.

    Returns: an SVG document WIDTH wide.
    """
    height = max(HEIGHT, 60 + 14 * len(rows))
    left = min(170, 12 + round(5.6 * max(map(len, rows))))  # a letter of 7 pt is at most that wide on average
    right, top, bottom = 74, 10, 42
    shown = np.ma.masked_invalid(np.where(values > 0, values, np.nan) if log else values)
    low, high = (float(shown.min()), float(shown.max())) if shown.count() else (1.0, 1.0)
    if log:
        norm = LogNorm(low, max(high, 1.5 * low))
    else:
        norm = Normalize(min(low, 0.0), max(high, 0.1))
    edges = np.append(steps, 2 * steps[-1] - steps[-2] if len(steps) > 1 else steps[-1] + 1)

    def draw(axes: Axes) -> None:
        mesh = axes.pcolormesh(edges, np.arange(len(rows) + 1), shown, cmap=name, norm=norm, rasterized=True)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows, parse_math=False)
        axes.tick_params(axis="y", length=0, labelsize=7)
        axes.invert_yaxis()
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(_short(float(edges[-1])))
        axes.set_xlabel("step")
        inside = axes.inset_axes((1 + 8 / (WIDTH - left - right), 0, 9 / (WIDTH - left - right), 1))
        bar = Colorbar(inside, mesh, ticks=_ticks(low, high) if log else MaxNLocator(5))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.tick_params(labelsize=7)
        bar.set_label(unit, parse_math=False)

    return _svg(draw, WIDTH, height, (left, right, top, bottom))


def _short(last: float) -> FuncFormatter:
    """Steps up to `last` as tick labels: 15,000 but 150k."""
    return FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value and last > 20_000 else f"{value:,.6g}")


def _ticks(low: float, high: float) -> LogLocator:
    """Of a logarithmic axis: 1, 2, 5 of each decade, over many decades 1 alone."""
    return LogLocator(subs=(1.0,) if high > 300 * low else (1.0, 2.0, 5.0))


def _svg(draw: Callable[[Axes], None], width: int, height: int, margins: tuple[int, int, int, int]) -> str:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width / 96, height / 96))  # 96 CSS pixels an inch
        # Fixed margins: the frames of panels above each other line up whatever their tick labels.
        left, right, top, bottom = margins
        draw(figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, dpi=192)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _draw_curve(axes: Axes, curve: Curve) -> None:
    x, y = thin_out(curve.x, curve.y)
    color = tuple(channel / 255 for channel in curve.color)
    points = 0.75  # a CSS pixel in matplotlib's unit of line widths
    line = {"color": color, "solid_capstyle": "round", "solid_joinstyle": "round"}
    if curve.steps:
        line["drawstyle"] = "steps-pre"  # between two thresholds the envelope is that of the larger recall
    bold = y
    if curve.noisy and len(y) >= SMOOTHED_FROM:
        if curve.faint and len(curve.y) > len(y):
            low, high = extremes(curve.y)
            axes.fill_between(x, low, high, color=color, alpha=0.3, linewidth=0)
        elif curve.faint:
            axes.plot(x, y, linewidth=0.5, alpha=0.45, **line)
        bold = moving_mean(y)
    # A value without neighbours draws no line: few points are marked one by one.
    marker = {"marker": "o", "markersize": 3.2} if len(y) < 30 and not curve.steps else {}
    (drawn,) = axes.plot(x, bold, linewidth=1.5, **line, **marker)
    if curve.dashes:
        drawn.set_dashes([length * points / 1.5 for length in curve.dashes])  # in units of the line's width


def _scale_axes(axes: Axes, panel: Panel) -> None:
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    if panel.logarithmic:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(_ticks(low, high))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if panel.limits is not None:
            axes.set_ylim(*panel.limits)
    last = panel.last
    axes.set_xlim(0, 1.02 * last if last > 0 else 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=panel.x_label == "step"))
    axes.xaxis.set_major_formatter(_short(last))
