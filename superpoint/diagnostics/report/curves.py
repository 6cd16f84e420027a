"""Small plots of the report: numbers in, SVG out. Titles and legends are the page's, so no name reaches matplotlib."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import ArrayLike

from superpoint.visualize import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, plot_color

ORDER = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)  # yellow is too faint on white
DASHES = ((), (5.0, 2.5), (1.5, 1.8), (7.0, 2.0, 1.5, 2.0))  # SVG's unit: CSS pixels
WIDTH, HEIGHT = 388, 236  # CSS pixels: three panels beside each other on a page 1200 wide, one on a telephone
MAX_POINTS = 80  # of a curve: longer ones are averaged
LOG_FROM = 5.0  # largest over smallest value from which a logarithmic axis is worth it
PLAIN, COMMAS = StrMethodFormatter("{x:g}"), StrMethodFormatter("{x:,.6g}")
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#7a7a7a",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "svg.hashsalt": "superpoint",  # the same document in every process
}


@dataclass(frozen=True)
class Curve:
    """Values over x, NaN where there is none.

    Attributes:
        index: chooses colour and dashes; no two below 12 share both.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    index: int = 0

    @property
    def color(self) -> tuple[int, int, int]:
        return ORDER[self.index % len(ORDER)]

    @property
    def dashes(self) -> tuple[float, ...]:
        return DASHES[self.index % len(DASHES)]

    @property
    def ends(self) -> tuple[float, float] | None:
        finite = [value for value in self.y if math.isfinite(value)]
        return (finite[0], finite[-1]) if finite else None


@dataclass(frozen=True)
class Panel:
    """Curves with common axes.

    Attributes:
        log: logarithmic y axis, if the values span enough for it.
        level, marks: a y and some x that lines mark; NaN is none.
        limits: of the y axis; None fits the data.
        healthy: how the curves look when all is well.
        x_end: lower bound of the end of the x axis.
    """

    title: str
    unit: str
    curves: Sequence[Curve]
    log: bool = False
    level: float = math.nan
    marks: Sequence[float] = ()
    limits: tuple[float | None, float | None] | None = None
    x_end: float = 0.0
    note: str = ""
    healthy: str = ""
    width, height = WIDTH, HEIGHT  # of the picture, for the page

    @property
    def shown(self) -> list[Curve]:
        """The curves with a value; none if all have a single one, which shows no course."""
        course = any(np.isfinite(np.asarray(curve.y, float)).sum() > 1 for curve in self.curves)
        return [curve for curve in self.curves if curve.ends and course]

    @property
    def logarithmic(self) -> bool:
        finite = [value for curve in self.curves for value in curve.y if math.isfinite(value)]
        return self.log and bool(finite) and min(finite) > 0 and max(finite) >= LOG_FROM * min(finite)

    @property
    def last(self) -> float:
        return max([curve.x[-1] for curve in self.curves if len(curve.x)] + [self.x_end])

    @property
    def alt(self) -> str:
        """The panel in words, for those who cannot see it."""
        ends = [(curve.name or self.unit, curve.ends) for curve in self.curves if curve.ends]
        words = "; ".join(f"{name}: from {first:.3g} to {last:.3g}" for name, (first, last) in ends)
        return f"{self.title} over step up to {self.last:,.6g}. {words}."

    def svg(self) -> str:
        buffer = io.StringIO()
        with matplotlib.rc_context(STYLE):
            figure = Figure(figsize=(WIDTH / 96, HEIGHT / 96))  # 96 CSS pixels per inch
            self.draw(figure)
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        return text[text.index("<svg") :]

    @property
    def uri(self) -> str:
        return data_uri(self.svg().encode(), "image/svg+xml")

    def draw(self, figure: Figure) -> None:
        # Fixed margins: the frames of panels above each other line up whatever their tick labels.
        axes = figure.add_axes((70 / WIDTH, 42 / HEIGHT, 1 - 84 / WIDTH, 1 - 52 / HEIGHT))
        for curve in self.curves:
            _draw_curve(axes, curve)
        _scale_axes(axes, self)
        if math.isfinite(self.level):
            axes.axhline(self.level, color="#777777", linewidth=0.9, linestyle=(0, (1, 2)))
        for mark in self.marks:
            axes.axvline(mark, color="#777777", linewidth=0.9, linestyle=(0, (4, 2)))
        axes.set_xlabel("step")
        axes.set_ylabel(f"{self.unit} (log scale)" if self.logarithmic else self.unit, parse_math=False)
        axes.yaxis.set_label_coords(-57 / (WIDTH - 84), 0.5)


def data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def groups(values: ArrayLike, size: int) -> np.ma.MaskedArray:
    """Return a curve in groups of neighbours [N, size]; what is not finite is masked."""
    array = np.asarray(values, np.float64)
    padded = np.pad(array, (0, -len(array) % size), constant_values=np.nan)
    return np.ma.masked_invalid(padded.reshape(-1, size))


def _ticks(low: float, high: float) -> LogLocator:
    return LogLocator(subs=(1.0,) if high > 300 * low else (1.0, 2.0, 5.0))


def _draw_curve(axes: Axes, curve: Curve) -> None:
    size = max(1, math.ceil(len(curve.x) / MAX_POINTS))
    x, y = groups(curve.x, size).mean(axis=1), groups(curve.y, size)
    color = plot_color(curve.color)
    if size > 1:  # a spike that the mean hides stays visible
        axes.fill_between(x, y.min(axis=1), y.max(axis=1), color=color, alpha=0.3, linewidth=0)
    # A value without neighbours draws no line.
    marker = "o" if len(y) < 30 else ""
    (line,) = axes.plot(x, y.mean(axis=1), color=color, linewidth=1.5, marker=marker, markersize=3.2)
    if curve.dashes:
        line.set_dashes([length / 2 for length in curve.dashes])  # in units of the line's width, which is 2 CSS pixels


def _scale_axes(axes: Axes, panel: Panel) -> None:
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    if panel.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(_ticks(*axes.get_ylim()))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(PLAIN)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if panel.limits is not None:
            axes.set_ylim(*panel.limits)
    axes.set_xlim(0, 1.02 * panel.last if panel.last > 0 else 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(COMMAS)
