"""The panels of a heatmap figure: each draws one view of a detector's output into its place on the page."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, PowerNorm

from superpoint.diagnostics.heatmaps.cell_maps import Verdict
from superpoint.diagnostics.heatmaps.detector_output import DetectorOutput
from superpoint.diagnostics.heatmaps.layout import RIM, Page, mark, name_axes, shade_cells, show_image, show_map
from superpoint.geometry.cells import CELL, DUSTBIN
from superpoint.visualize import colormap

Box = tuple[float, float, float, float]  # left, top, width, height in px
Panel = Callable[[Page, Box, DetectorOutput, Normalize | None], Axes]

# Rings in the dark end of viridis could not be told from the shadows of a photograph.
BRIGHT = LinearSegmentedColormap.from_list("bright viridis", colormap(np.linspace(0.35, 1, 64)) / 255)


def probability_norm(largest: float) -> PowerNorm:
    """Colours of probabilities 0..largest by their square root, so that the weak show beside the strong."""
    return PowerNorm(0.5, 0, max(largest, 0.01))


def input_panel(page: Page, box: Box, output: DetectorOutput, norm: Normalize | None = None) -> Axes:
    """The image as the network sees it; cells the loss ignores are darkened."""
    axes = page.panel(*box, "input", "input (grey level 0..255)")
    show_image(axes, output.image)
    shade_cells(axes, ~output.maps.valid, CELL)
    crop(axes, output)
    return axes


def label_panel(page: Page, box: Box, output: DetectorOutput, norm: Normalize | None = None) -> Axes:
    """Label points, and the cells and pixels they were encoded to: a swap of x and y or a wrong order shows here."""
    target, labels = output.maps.target, output.labels
    assert target is not None
    assert labels is not None
    rows, columns = np.nonzero(target != DUSTBIN)
    axes = page.panel(*box, "label", f"label points: {len(labels)}; cells with one: {len(rows)}")
    show_image(axes, output.image, dimmed=True)
    outline = np.array([[0, 0], [CELL, 0], [CELL, CELL], [0, CELL], [0, 0]]) - 0.5
    for row, column in zip(rows, columns, strict=True):
        x, y = (outline + np.array([column, row]) * CELL).T
        axes.plot(x, y, color="white", linewidth=0.6, alpha=0.7)
    mark(axes, labels, "label", f"label point ({len(labels)})")
    axes.plot([], [], color="grey", linewidth=0.8, label=f"its 8x8 cell ({len(rows)})")
    shade_cells(axes, ~output.maps.valid, CELL)
    crop(axes, output)
    page.legend(axes)
    return axes


def probability_panel(page: Page, box: Box, output: DetectorOutput, norm: Normalize | None = None) -> Axes:
    axes = page.panel(*box, "probability", "probability of an interest point")
    largest = float(output.maps.probability.max())
    unit = f"probability (square-root scale); largest {largest:.3f}"
    show_map(page, axes, output.maps.probability, unit, norm=norm or probability_norm(largest), cells=False)
    return axes


def detection_panel(page: Page, box: Box, output: DetectorOutput, norm: Normalize | None = None) -> Axes:
    """Detections as rings, coloured by their probability, over the image; labels as crosses."""
    axes = page.panel(*box, "detections", f"detections: {len(output.points)}")
    show_image(axes, output.image)
    if output.labels is not None:
        mark(axes, output.labels, "label", f"label point ({len(output.labels)})", 30)
    norm = norm or probability_norm(float(output.maps.probability.max()))
    order = np.argsort(output.scores, kind="stable")  # the weak first, so that the strong lie on top
    x, y = output.points[order].T
    rings = axes.scatter(
        x, y, s=30, c=output.scores[order], cmap=BRIGHT, norm=norm, marker="o", linewidths=1.3,
        path_effects=RIM, label=f"detection ({len(output.points)})",
    )  # fmt: skip
    rings.set_facecolor("none")
    rings.set_edgecolor([tuple(color) for color in BRIGHT(np.asarray(norm(output.scores[order])))])
    crop(axes, output)
    crosses = "; crosses: label" if output.labels is not None else ""
    page.colorbar(axes, rings, f"probability at the peak{crosses}")
    return axes


def verdict_panel(page: Page, box: Box, output: DetectorOutput, norm: Normalize | None = None) -> Axes:
    """The largest of each cell's 65 channels against its label; the wrong cells are marked by kind."""
    maps = output.maps
    wrong = sum(maps.count(verdict) for verdict in Verdict if verdict != Verdict.RIGHT)
    axes = page.panel(*box, "argmax", f"argmax vs label: {wrong} of {int(maps.valid.sum())} wrong")
    height, width = output.image.shape
    extent = (-0.5, width / CELL - 0.5, height / CELL - 0.5, -0.5)
    axes.imshow(output.image, cmap="gray", vmin=0, vmax=425, extent=extent, interpolation="nearest")
    for verdict in (Verdict.RIGHT, Verdict.MISSED, Verdict.FALSE, Verdict.MISPLACED):
        where = maps.where(verdict)
        name = "as labelled" if verdict == Verdict.RIGHT else verdict.name.lower()
        away = f", {maps.misplacement():.1f} px" if verdict == Verdict.MISPLACED and len(where) else ""
        mark(axes, where[:, ::-1], verdict.name.lower(), f"{name} ({len(where)}{away})", 34)
    shade_cells(axes, ~maps.valid)
    rows, columns = maps.valid.shape
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    name_axes(axes, "cell column", "cell row")
    page.legend(axes)
    return axes


def dustbin_panel(page: Page, box: Box, output: DetectorOutput, norm: Normalize | None = None) -> Axes:
    axes = page.panel(*box, "dustbin", f"dustbin: mean {output.statistics['dustbin']:.3f}")
    show_map(
        page, axes, output.maps.dustbin, "probability of no interest point", norm=norm or Normalize(0, 1),
        name="cividis",
    )  # fmt: skip
    return axes


def range_panel(page: Page, box: Box, output: DetectorOutput, norm: Normalize | None = None) -> Axes:
    axes = page.panel(*box, "range", "logit range of a cell (max - min)")
    norm = norm or Normalize(0, max(float(output.maps.logit_range.max()), 1e-3))
    show_map(page, axes, output.maps.logit_range, "nats", norm=norm, name="cividis")
    return axes


def logsumexp_panel(page: Page, box: Box, output: DetectorOutput, norm: Normalize | None = None) -> Axes:
    low, high = float(output.maps.logsumexp.min()), float(output.maps.logsumexp.max())
    axes = page.panel(*box, "logsumexp", f"logsumexp of a cell: {low:.1f} to {high:.1f}")
    show_map(page, axes, output.maps.logsumexp, "nats (exp overflows above 88)", norm=norm, name="cividis")
    return axes


def entropy_panel(page: Page, box: Box, output: DetectorOutput, norm: Normalize | None = None) -> Axes:
    axes = page.panel(*box, "entropy", "uncertainty (entropy of the 65)")
    limits = norm or Normalize(0, float(np.log(DUSTBIN + 1)))
    show_map(page, axes, output.maps.entropy, "nats (ln 65 = 4.17: knows nothing)", norm=limits, name="cividis")
    return axes


def mean_cell_panel(page: Page, box: Box, output: DetectorOutput, norm: Normalize | None = None) -> Axes:
    """The mean of all cells: even but for chance in a healthy network, a pattern if all cells look the same."""
    mean = output.maps.mean_cell()
    axes = page.panel(*box, "mean cell", f"mean of {int(output.maps.valid.sum())} cells (even is healthy)")
    show_map(page, axes, mean, "mean probability", norm=norm or Normalize(0, max(float(mean.max()), 1e-6)), cells=False)
    name_axes(axes, "x in the cell (px)", "y in the cell (px)")
    return axes


def crop(axes: Axes, output: DetectorOutput) -> None:
    """Markers and veils must not stretch the axes beyond the image."""
    height, width = output.image.shape
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
