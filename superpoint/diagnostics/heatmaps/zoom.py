"""Single cells enlarged: where they lie, what the network sees there, and their 65 logits."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from superpoint.diagnostics.heatmaps.cell_maps import CellMaps, Verdict, WorstCell
from superpoint.diagnostics.heatmaps.detector_output import DetectorOutput
from superpoint.diagnostics.heatmaps.layout import MARKERS, RIM, SMALL, TITLE, Page, mark, name_axes, rgb
from superpoint.geometry.cells import CELL, DUSTBIN

ACROSS = 3  # zooms in a row
HEIGHT = 182  # px of a zoom
CROP = 112  # px of a crop
AROUND = 4  # pixels shown about the cell: a peak just beyond its border explains many a wrong cell
LEAST_CONTRAST = 48  # grey levels; a flat cell must not look like noise


def draw_zoom(
    page: Page, left: float, top: float, width: float, output: DetectorOutput, cell: WorstCell, number: int
) -> None:
    """Crop of the image, crop of the probability, and the 65 logits of a cell, in a box of width x HEIGHT px."""
    row, column, maps = cell.row, cell.column, output.maps
    page.text(left + 14, top + 4, f"{number}  {_headline(maps, cell)}", TITLE)
    limits = _contrast(output.image, row, column)
    first = page.axes(left + 46, top + 24, CROP, CROP, f"zoom {number} image")
    first.imshow(output.image, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
    second = page.axes(left + 46 + CROP + 10, top + 24, CROP, CROP, f"zoom {number} probability")
    peak = _peak(maps, row, column)
    second.imshow(maps.probability, cmap="viridis", vmin=0, vmax=max(peak, 1e-4), interpolation="nearest")
    for axes, name in ((first, "image, x (px)"), (second, f"prob. 0..{peak:.2g}, x (px)")):
        _frame(axes, row, column)
        name_axes(axes, name, "y (px)" if axes is first else "")
        _mark_channels(axes, maps, row, column)
    second.set_yticklabels([])
    bars = page.axes(left + 46 + 2 * CROP + 62, top + 24, width - 2 * CROP - 122, CROP, f"zoom {number} logits")
    _draw_logits(bars, maps, row, column)


def _headline(maps: CellMaps, cell: WorstCell) -> str:
    place = f"cell row {cell.row}, column {cell.column}"
    found = _channel(int(maps.argmax[cell.row, cell.column]))
    if maps.target is None or maps.verdict is None:
        return f"{place}: argmax {found}; {cell.reason}"
    verdict = Verdict(int(maps.verdict[cell.row, cell.column])).name.lower()
    return (
        f"{place}: {verdict}; label {_channel(int(maps.target[cell.row, cell.column]))}, argmax {found}; {cell.reason}"
    )


def _channel(channel: int) -> str:
    return "dustbin" if channel == DUSTBIN else str(channel)


def _contrast(image: np.ndarray, row: int, column: int) -> tuple[float, float]:
    part = image[
        max(row * CELL - AROUND, 0) : (row + 1) * CELL + AROUND,
        max(column * CELL - AROUND, 0) : (column + 1) * CELL + AROUND,
    ]
    low, high = float(part.min()), float(part.max())
    missing = max(LEAST_CONTRAST - (high - low), 0) / 2
    return low - missing, high + missing


def _peak(maps: CellMaps, row: int, column: int) -> float:
    part = maps.probability[
        max(row * CELL - AROUND, 0) : (row + 1) * CELL + AROUND,
        max(column * CELL - AROUND, 0) : (column + 1) * CELL + AROUND,
    ]
    return float(part.max())


def _frame(axes: Axes, row: int, column: int) -> None:
    """Show the cell and some pixels about it, its outline drawn."""
    left, top = column * CELL - 0.5, row * CELL - 0.5
    axes.add_patch(Rectangle((left, top), CELL, CELL, fill=False, edgecolor="white", linewidth=1.2, path_effects=RIM))
    axes.set(xlim=(left - AROUND, left + CELL + AROUND), ylim=(top + CELL + AROUND, top - AROUND))
    axes.set_facecolor("lightgrey")  # beyond the image


def _mark_channels(axes: Axes, maps: CellMaps, row: int, column: int) -> None:
    """The pixels of the label (cross) and of the largest channel (ring); the dustbin has none."""
    for kind, channel in _marked(maps, row, column):
        if channel != DUSTBIN:
            mark(axes, [[column * CELL + channel % CELL, row * CELL + channel // CELL]], kind, kind, 60)


def _marked(maps: CellMaps, row: int, column: int) -> list[tuple[str, int]]:
    marked = [("largest", int(maps.argmax[row, column]))]
    if maps.target is not None:
        marked.append(("label", int(maps.target[row, column])))
    return marked


def _draw_logits(axes: Axes, maps: CellMaps, row: int, column: int) -> None:
    """The 65 logits as bars from the smallest up, those of the label and of the largest channel coloured and marked."""
    values = maps.logits[:, row, column]
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 1e-3)
    base = low - 0.06 * span
    colors = [(0.62, 0.62, 0.62)] * DUSTBIN + [(0.35, 0.35, 0.35)]
    for kind, channel in _marked(maps, row, column):
        colors[channel] = rgb(MARKERS[kind][1])
    axes.bar(np.arange(DUSTBIN + 1), values - base, bottom=base, width=0.86, color=colors)
    for kind, channel in _marked(maps, row, column):
        above = values[channel] + (0.24 if kind == "label" else 0.1) * span
        mark(axes, [[channel, above]], kind, kind, 32)
    axes.set(xlim=(-1, DUSTBIN + 2.5), ylim=(base, high + 0.34 * span))
    axes.set_xticks([0, 16, 32, 48, DUSTBIN])
    axes.set_xlabel("channel (64 = dustbin)", fontsize=SMALL, labelpad=1)
    axes.set_ylabel("logit (nats)", fontsize=SMALL, labelpad=1)
    axes.spines[["top", "right"]].set_visible(False)
