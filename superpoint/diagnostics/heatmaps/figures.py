"""The figure of a detector's output on one image: all panels, and the worst cells."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Rectangle

from superpoint.diagnostics.heatmaps.cell_maps import CellMaps, Verdict, WorstCell, worst_cells
from superpoint.diagnostics.heatmaps.detector_output import DetectorOutput
from superpoint.diagnostics.heatmaps.panels import (
    MARKERS,
    PANELS,
    RIM,
    SMALL,
    STYLE,
    mark,
    name_axes,
    spread,
)
from superpoint.geometry.cells import CELL, DUSTBIN
from superpoint.visualize import plot_color

WIDTH, DPI = 1600, 100  # px of a figure
TALLEST, LOWEST = 440, 60  # px of a panel's picture
# px beside a panel's picture, and above and below it. Where the width limits the pictures, titles overlap.
AROUND = 84, 112
ZOOM_HEIGHT, ACROSS = 190, 3  # px of an enlarged cell, and how many are in a row
CONTEXT = 4  # pixels shown about the cell: a peak just beyond its border explains many a wrong cell
MIN_CONTRAST = 48  # grey levels; a flat cell must not look like noise


@matplotlib.rc_context(STYLE)
def heatmap_panels(output: DetectorOutput, title: str = "", worst: int = 6) -> Figure:
    """Draw all PANELS of a detector's output on one image and the `worst` cells with their 65 logits, 1600 px wide."""
    labelled = output.labels is not None
    names = [name for name in PANELS if labelled or name not in ("label", "argmax")]
    shown = worst_cells(output.maps, worst)
    columns, rows = len(names) // 2, -(-len(shown) // ACROSS)
    heights = [2 * _panel_height(columns, output.image.shape), 24 + rows * ZOOM_HEIGHT if shown else 1]
    size = WIDTH / DPI, (sum(heights) + 110) / DPI
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    # Names of files may hold a $, which would start a formula.
    heading = f"{title or 'Detector output'}\n{output.verdict()}"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=SMALL + 4, parse_math=False)
    figure.supxlabel(output.describe(), x=0.01, ha="left", fontsize=SMALL)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=heights).flat
    for name, axes in zip(names, upper.subplots(2, columns).flat, strict=True):
        axes.set_label(name)
        PANELS[name](axes, output)
    if shown:
        kind = (
            "Cells of the largest loss (minus ln of the label's probability); cross: label, ring: largest channel"
            if labelled
            else "No labels: the most uncertain cells (entropy); ring: largest channel"
        )
        lower.suptitle(kind, x=0.01, ha="left", fontsize=SMALL + 2)
        zooms = lower.subfigures(rows, ACROSS, squeeze=False).flat
        for number, (zoom, cell) in enumerate(zip(zooms, shown, strict=False), 1):
            draw_zoom(zoom, output, cell, number)
    return figure


def _panel_height(columns: int, size: tuple[int, ...]) -> int:
    picture = (WIDTH / columns - AROUND[0]) * size[0] / size[1]
    return round(min(max(picture, LOWEST), TALLEST)) + AROUND[1]


def draw_zoom(page: FigureBase, output: DetectorOutput, cell: WorstCell, number: int) -> None:
    """Draw the crop of the image, the crop of the probability, and the 65 logits of a cell."""
    maps, row, column = output.maps, cell.row, cell.column
    channels = {"largest": int(maps.argmax[row, column])}
    words = f"argmax {_channel(channels['largest'])}; {cell.reason}"
    if maps.target is not None and maps.verdict is not None:
        channels["label"] = int(maps.target[row, column])
        verdict = Verdict(int(maps.verdict[row, column])).name.lower()
        words = f"{verdict}; label {_channel(channels['label'])}, {words}"
    page.suptitle(
        f"{number}  cell row {row}, column {column}: {words}", x=0.02, ha="left", fontsize=SMALL + 1, weight="normal"
    )
    first, second, bars = page.subplots(1, 3, width_ratios=[1, 1, 1.9])
    around = (
        slice(max(row * CELL - CONTEXT, 0), (row + 1) * CELL + CONTEXT),
        slice(max(column * CELL - CONTEXT, 0), (column + 1) * CELL + CONTEXT),
    )
    greys = spread(output.image[around], MIN_CONTRAST)
    first.imshow(output.image, cmap="gray", norm=greys, interpolation="nearest")
    peak = float(maps.probability[around].max())
    second.imshow(maps.probability, cmap="viridis", vmin=0, vmax=max(peak, 1e-4), interpolation="nearest")
    for axes, name, text in ((first, "image", "image"), (second, "probability", f"prob. 0..{peak:.2g}")):
        axes.set_label(f"zoom {number} {name}")
        _frame(axes, row, column)
        name_axes(axes, "px")
        axes.set_xlabel(f"{text}, x (px)", labelpad=1)
        for kind, channel in channels.items():
            if channel != DUSTBIN:  # which has no pixel
                mark(axes, [[column * CELL + channel % CELL, row * CELL + channel // CELL]], kind, kind, 60)
    second.set(ylabel="", yticklabels=[])
    bars.set_label(f"zoom {number} logits")
    _draw_logits(bars, maps, maps.logits[:, row, column], channels)


def _channel(channel: int) -> str:
    return "dustbin" if channel == DUSTBIN else str(channel)


def _frame(axes: Axes, row: int, column: int) -> None:
    left, top = column * CELL - 0.5, row * CELL - 0.5
    axes.add_patch(Rectangle((left, top), CELL, CELL, fill=False, edgecolor="white", linewidth=1.2, path_effects=RIM))
    axes.set(xlim=(left - CONTEXT, left + CELL + CONTEXT), ylim=(top + CELL + CONTEXT, top - CONTEXT))
    axes.set_facecolor("lightgrey")  # beyond the image


def _draw_logits(axes: Axes, maps: CellMaps, values: np.ndarray, channels: dict[str, int]) -> None:
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 1e-3)
    base = low - 0.06 * span
    colors = [(0.62, 0.62, 0.62)] * DUSTBIN + [(0.35, 0.35, 0.35)]
    for kind, channel in channels.items():
        colors[channel] = plot_color(MARKERS[kind][1])
    axes.bar(np.arange(DUSTBIN + 1), values - base, bottom=base, width=0.86, color=colors)
    for kind, channel in channels.items():
        mark(axes, [[channel, values[channel] + (0.24 if kind == "label" else 0.1) * span]], kind, kind, 32)
    axes.set(xlim=(-1, DUSTBIN + 2.5), ylim=(base, high + 0.34 * span), xticks=[0, 16, 32, 48, DUSTBIN])
    axes.tick_params(labelsize=SMALL, length=3, pad=2)
    axes.set_xlabel("channel (64 = dustbin)", labelpad=1)
    axes.set_ylabel("logit (nats)", labelpad=1)
    axes.spines[["top", "right"]].set_visible(False)
