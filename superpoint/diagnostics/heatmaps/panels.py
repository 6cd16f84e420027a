"""The panels of a heatmap figure: each draws one aspect of a detector's output."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, PowerNorm
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from superpoint.diagnostics.heatmaps.cell_maps import Verdict
from superpoint.diagnostics.heatmaps.detector_output import DetectorOutput
from superpoint.geometry.cells import CELL, DUSTBIN
from superpoint.visualize import DIMMED, SKY, VERMILION, YELLOW, colormap, plot_color

SMALL = 8  # points, 11 px
MIN_RANGE = 1e-3
STYLE: dict[Any, Any] = {
    "font.size": SMALL,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.titleweight": "bold",
}
RIM = [withStroke(linewidth=2.4, foreground="black")]  # keeps a thin marker visible on any background
# Rings in the dark end of viridis could not be told from the shadows of a photograph.
BRIGHT = LinearSegmentedColormap.from_list("bright viridis", colormap(np.linspace(0.35, 1, 64)) / 255)
# marker, colour, whether it has no inside to be left open
MARKERS = {
    "label": ("+", VERMILION, True),
    "right": ("o", (255, 255, 255), False),
    "missed": ("x", VERMILION, True),
    "false": ("s", SKY, False),
    "misplaced": ("^", YELLOW, False),
}


def label_panel(axes: Axes, output: DetectorOutput) -> None:
    """Draw label points and the cells they were encoded to: a swap of x and y shows here."""
    target, labels = output.maps.target, output.labels
    assert target is not None
    assert labels is not None
    rows, columns = np.nonzero(target != DUSTBIN)
    show_image(axes, output, f"label points: {len(labels)}; cells with one: {len(rows)}", top=255 / DIMMED)
    outline = np.array([[0, 0], [CELL, 0], [CELL, CELL], [0, CELL], [0, 0]]) - 0.5
    for row, column in zip(rows, columns, strict=True):
        x, y = (outline + np.array([column, row]) * CELL).T
        axes.plot(x, y, color="white", linewidth=0.6, alpha=0.7)
    mark(axes, labels, "label", f"label point ({len(labels)})")
    axes.plot([], [], color="grey", linewidth=0.8, label=f"its 8x8 cell ({len(rows)})")
    _legend(axes)


def probability_panel(axes: Axes, output: DetectorOutput) -> None:
    max_probability = float(output.maps.probability.max())
    unit = f"probability (square-root scale); max {max_probability:.3f}"
    norm = probability_norm(max_probability)
    show_image(axes, output, "probability of an interest point", top=255 / DIMMED)
    opacity = np.minimum(2.5 * np.asarray(norm(output.maps.probability)), 1)
    shade = axes.imshow(output.maps.probability, cmap=BRIGHT, norm=norm, alpha=opacity, interpolation="nearest")
    _colorbar(axes, shade, unit)


def detection_panel(axes: Axes, output: DetectorOutput) -> None:
    show_image(axes, output, f"detections: {len(output.points)}")
    if output.labels is not None:
        mark(axes, output.labels, "label", f"label point ({len(output.labels)})", 30)
    norm = probability_norm(float(output.maps.probability.max()))
    order = np.argsort(output.scores, kind="stable")  # the weak first, so that the strong lie on top
    x, y = output.points[order].T
    rings = axes.scatter(
        x, y, s=30, c=output.scores[order], cmap=BRIGHT, norm=norm, marker="o", linewidths=1.3,
        path_effects=RIM, label=f"detection ({len(output.points)})",
    )  # fmt: skip
    rings.set_facecolor("none")
    rings.set_edgecolor([tuple(color) for color in BRIGHT(np.asarray(norm(output.scores[order])))])
    _colorbar(axes, rings, f"probability at the peak{'; crosses: label' if output.labels is not None else ''}")


def verdict_panel(axes: Axes, output: DetectorOutput) -> None:
    """Mark the cells whose largest channel is not the label, by kind."""
    maps = output.maps
    wrong = sum(maps.count(verdict) for verdict in Verdict if verdict != Verdict.RIGHT)
    title = f"argmax vs label: {wrong} of {int(maps.valid.sum())} wrong"
    show_image(axes, output, title, top=425, unit="cell")
    for verdict in Verdict:
        where = maps.where(verdict)
        name = "as labelled" if verdict == Verdict.RIGHT else verdict.name.lower()
        away = f", {maps.misplacement():.1f} px" if verdict == Verdict.MISPLACED and len(where) else ""
        mark(axes, where[:, ::-1], verdict.name.lower(), f"{name} ({len(where)}{away})", 34)
    _legend(axes)


def dustbin_panel(axes: Axes, output: DetectorOutput) -> None:
    title = f"dustbin: mean {output.statistics['dustbin']:.3f}"
    _show_map(axes, output.maps.dustbin, title, "probability of no interest point", Normalize(0, 1))


def logsumexp_panel(axes: Axes, output: DetectorOutput) -> None:
    values = output.maps.logsumexp
    title = f"logsumexp of a cell: {values.min():.1f} to {values.max():.1f}"
    _show_map(axes, values, title, "nats (exp overflows above 88)", spread(values))


Panel = Callable[[Axes, DetectorOutput], None]
PANELS: dict[str, Panel] = {
    "label": label_panel,
    "probability": probability_panel,
    "detections": detection_panel,
    "argmax": verdict_panel,
    "dustbin": dustbin_panel,
    "logsumexp": logsumexp_panel,
}


def probability_norm(largest: float) -> PowerNorm:
    """Scale probabilities by their square root, so that the weak show beside the strong."""
    return PowerNorm(0.5, 0, max(largest, 0.01))


def spread(values: ArrayLike) -> Normalize:
    """Scale from the smallest to the largest value, at least MIN_RANGE apart: rounding errors get no colours."""
    low, high = float(np.min(values)), float(np.max(values))
    missing = max(MIN_RANGE - (high - low), 0.0) / 2
    return Normalize(low - missing, high + missing)


def show_image(axes: Axes, output: DetectorOutput, title: str, *, top: float = 255, unit: str = "px") -> None:
    """Draw the image, grey levels 0..top, with its ignored cells darkened; `unit` of the axes: "px" or "cell"."""
    (height, width), side = output.image.shape, CELL if unit == "cell" else 1
    smooth = unit == "px" and width >= 240
    extent = (-0.5, width / side - 0.5, height / side - 0.5, -0.5)
    axes.imshow(
        output.image, cmap="gray", vmin=0, vmax=top, extent=extent, interpolation="auto" if smooth else "nearest"
    )
    axes.set_title(title)
    rows, columns = output.maps.valid.shape
    veil = np.zeros((rows, columns, 4))
    veil[..., 3] = np.where(output.maps.valid, 0.0, 0.55)
    if veil.any():
        right, bottom = columns * CELL / side - 0.5, rows * CELL / side - 0.5
        axes.imshow(veil, extent=(-0.5, right, bottom, -0.5), interpolation="nearest")
    # Markers and veils must not stretch the axes beyond the image.
    limits = (columns, rows) if unit == "cell" else (width, height)
    axes.set(xlim=(-0.5, limits[0] - 0.5), ylim=(limits[1] - 0.5, -0.5))
    name_axes(axes, unit)


def _show_map(
    axes: Axes,
    values: NDArray[np.floating],
    title: str,
    label: str,
    norm: Normalize,
) -> None:
    picture = axes.imshow(values, cmap="cividis", norm=norm, interpolation="nearest")
    axes.set_title(title)
    name_axes(axes, "cell")
    _colorbar(axes, picture, label)


def name_axes(axes: Axes, unit: str) -> None:
    axes.set_xlabel("x (px)" if unit == "px" else "cell column", labelpad=1)
    axes.set_ylabel("y (px)" if unit == "px" else "cell row", labelpad=1)
    axes.tick_params(labelsize=SMALL, length=3, pad=2)
    axes.set_anchor("N")  # a picture smaller than its place stays under its title
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def _colorbar(axes: Axes, picture: Any, label: str) -> None:
    bar = axes.figure.colorbar(picture, ax=axes, location="bottom", aspect=30, pad=0.02)
    bar.ax.xaxis.set_major_locator(MaxNLocator(5))
    bar.ax.tick_params(labelsize=SMALL, length=2, pad=1)
    bar.set_label(label, labelpad=1)


def _legend(axes: Axes) -> None:
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": 3.6}
    legend = axes.legend(ncols=2, handletextpad=0.3, columnspacing=0.8, **place)
    legend.set_in_layout(False)  # it lies where other panels have their colour bar


def mark(axes: Axes, points: ArrayLike, kind: str, label: str, size: float = 36) -> None:
    """Draw points [N, 2] (x, y) in units of the axes; `kind` is a key of MARKERS, `label` stands in the legend."""
    marker, color, filled = MARKERS[kind]
    where, ink = np.asarray(points, np.float64).reshape(-1, 2), plot_color(color)
    style: dict[str, Any] = {"color": ink} if filled else {"facecolors": "none", "edgecolors": ink}
    axes.scatter(
        where[:, 0], where[:, 1], s=size, marker=marker, linewidths=1.2, path_effects=RIM, label=label, **style
    )
