"""A figure laid out in pixels, and the panels that go on it.

The distances are fixed by hand: an automatic layout moves panels about with the width of their tick labels, and two
figures of the same kind could not be laid beside each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from superpoint.visualize import DIMMED, SKY, VERMILION, YELLOW

DPI = 100
SMALL, TITLE, HEAD = 8, 9, 12  # points; 8 pt are 11 px
LEFT, RIGHT, ABOVE, BELOW, STRIP = 44, 14, 24, 36, 48  # px about the picture of a panel; STRIP: colour bar or legend
RIM = [withStroke(linewidth=2.4, foreground="black")]  # keeps a thin marker visible on any background

# marker, colour, whether it has no inside to be left open
MARKERS = {
    "label": ("+", VERMILION, True),
    "largest": ("o", SKY, False),
    "right": ("o", (255, 255, 255), False),
    "missed": ("x", VERMILION, True),
    "false": ("s", SKY, False),
    "misplaced": ("^", YELLOW, False),
}


def rgb(color: tuple[int, int, int]) -> tuple[float, float, float]:
    """A colour of ours, 0..255, as matplotlib wants it."""
    red, green, blue = color
    return red / 255, green / 255, blue / 255


class Page:
    """A figure of `width` x `height` px at 100 dpi; places are given in px from its top left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float, label: str) -> Axes:
        """Axes of that place and size; `label` is the name by which they can be found again."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box, label=label)
        axes.tick_params(labelsize=SMALL, length=3, pad=2)
        return axes

    def text(self, left: float, top: float, text: str, size: float = TITLE, **options: Any) -> None:
        """Text whose top left corner is there."""
        place = (left / self.width, 1 - top / self.height)
        # Names of files may hold a $, which would start a formula.
        self.figure.text(*place, text, fontsize=size, va="top", ha="left", parse_math=False, **options)

    def panel(self, left: float, top: float, width: float, height: float, label: str, title: str) -> Axes:
        """Axes for a picture inside a panel of that outer size, with room for its title, ticks and colour bar."""
        axes = self.axes(left + LEFT, top + ABOVE, width - LEFT - RIGHT, height - ABOVE - BELOW - STRIP, label)
        axes.set_title(title, fontsize=TITLE, loc="left", pad=5, parse_math=False)
        axes.set_anchor("NW")  # a picture smaller than its place stays under its title
        return axes

    def colorbar(self, axes: Axes, picture: Any, label: str) -> None:
        """A horizontal colour bar for `picture` in the strip under a panel's axes, as wide as these."""
        x0, y0, width, _ = axes.get_position(original=True).bounds
        top = self.height * (1 - y0) + BELOW + 2
        bar = self.axes(x0 * self.width, top, width * self.width, 9, f"colour bar: {axes.get_label()}")
        self.figure.colorbar(picture, cax=bar, orientation="horizontal")
        bar.xaxis.set_major_locator(MaxNLocator(5))
        bar.tick_params(labelsize=SMALL, length=2, pad=1)
        bar.set_xlabel(label, fontsize=SMALL, labelpad=1)

    def legend(self, axes: Axes, columns: int = 2) -> None:
        """The legend of a panel in the strip under it."""
        x0, y0, _, _ = axes.get_position(original=True).bounds
        handles, labels = axes.get_legend_handles_labels()
        place = (x0, y0 - (BELOW - 4) / self.height)
        options = {"fontsize": SMALL, "frameon": False, "handletextpad": 0.3, "columnspacing": 0.8, "borderpad": 0}
        self.figure.legend(handles, labels, loc="upper left", bbox_to_anchor=place, ncols=columns, **options)


def show_image(axes: Axes, image: NDArray[np.uint8], *, dimmed: bool = False) -> None:
    """A grey image [H, W] in pixels, at its full range 0..255."""
    top = 255 / DIMMED if dimmed else 255
    axes.imshow(image, cmap="gray", vmin=0, vmax=top, interpolation="nearest" if image.shape[1] < 240 else "auto")
    pixel_axes(axes)


def pixel_axes(axes: Axes) -> None:
    name_axes(axes, "x (px)", "y (px)")


def name_axes(axes: Axes, x: str, y: str) -> None:
    """Labels of both axes, close to their ticks, which are whole numbers."""
    axes.set_xlabel(x, fontsize=SMALL, labelpad=1)
    axes.set_ylabel(y, fontsize=SMALL, labelpad=1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def show_map(
    page: Page,
    axes: Axes,
    values: NDArray[np.floating],
    unit: str,
    *,
    norm: Normalize | None = None,
    name: str = "viridis",
    cells: bool = True,
) -> None:
    """A map with its colour bar; of cells (their rows and columns along the axes) or of pixels."""
    picture = axes.imshow(values, cmap=name, norm=norm or spread(values), interpolation="nearest")
    if cells:
        name_axes(axes, "cell column", "cell row")
    else:
        pixel_axes(axes)
    page.colorbar(axes, picture, unit)


def spread(values: ArrayLike, least: float = 1e-3) -> Normalize:
    """Colours from the smallest to the largest value, at least `least` apart, lest rounding errors look like a map."""
    low, high = float(np.min(values)), float(np.max(values))
    missing = max(least - (high - low), 0.0) / 2
    return Normalize(low - missing, high + missing)


def shade_cells(axes: Axes, ignored: NDArray[np.bool_], scale: int = 1) -> None:
    """Darken the cells that do not count; `scale` is the side of a cell in units of the axes."""
    if not ignored.any():
        return
    veil = np.zeros((*ignored.shape, 4))
    veil[..., 3] = np.where(ignored, 0.55, 0.0)
    height, width = ignored.shape
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(veil, extent=(-0.5, width * scale - 0.5, height * scale - 0.5, -0.5), interpolation="nearest")
    axes.set(xlim=limits[0], ylim=limits[1])


def mark(axes: Axes, points: ArrayLike, kind: str, label: str, size: float = 36) -> None:
    """Points [N, 2] (x, y) in units of the axes, with a marker that differs from the others in shape and colour.

    Args:
        kind: a key of MARKERS.
        label: for the legend; also the name by which the markers can be found again.
    """
    marker, color, filled = MARKERS[kind]
    where = np.asarray(points, np.float64).reshape(-1, 2)
    style: dict[str, Any] = {"color": rgb(color)} if filled else {"facecolors": "none", "edgecolors": rgb(color)}
    axes.scatter(
        where[:, 0], where[:, 1], s=size, marker=marker, linewidths=1.2, path_effects=RIM, label=label, **style
    )
