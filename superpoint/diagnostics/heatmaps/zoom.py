"""Single cells enlarged: the image, the probability and their 65 logits."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.patches import Rectangle

from superpoint.diagnostics.heatmaps.cell_maps import CellMaps, Verdict, WorstCell
from superpoint.diagnostics.heatmaps.detector_output import DetectorOutput
from superpoint.diagnostics.heatmaps.panels import MARKERS, RIM, SMALL, mark, name_axes
from superpoint.geometry.cells import CELL, DUSTBIN
from superpoint.visualize import plot_color

AROUND = 4  # pixels shown about the cell: a peak just beyond its border explains many a wrong cell
MIN_CONTRAST = 48  # grey levels; a flat cell must not look like noise


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
        slice(max(row * CELL - AROUND, 0), (row + 1) * CELL + AROUND),
        slice(max(column * CELL - AROUND, 0), (column + 1) * CELL + AROUND),
    )
    low, high = float(output.image[around].min()), float(output.image[around].max())
    missing = max(MIN_CONTRAST - (high - low), 0) / 2
    first.imshow(output.image, cmap="gray", vmin=low - missing, vmax=high + missing, interpolation="nearest")
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
    axes.set(xlim=(left - AROUND, left + CELL + AROUND), ylim=(top + CELL + AROUND, top - AROUND))
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
