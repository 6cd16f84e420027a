"""Draw how a network learns one image: a strip of heatmaps over the steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from superpoint.diagnostics.heatmaps.panels import SMALL, STYLE, name_axes
from superpoint.geometry.cells import CELL
from superpoint.visualize import ORANGE, SKY, figure_to_image, overlay_heatmap, plot_color

COLUMNS = 3
WIDTH = 480  # px of a picture, at most: three times one of 160 px, so that a peak of one pixel can be seen
TALLEST = 1.2  # height of a picture over its width, at most; taller ones are drawn narrower
AROUND, HEAD_AND_FOOT = 58, 110  # px about a picture; heading, legend and colour bar
NARROWEST = 570  # px, which the legend needs
DPI = 100
# A cross that is open in the middle: the pixel that it marks is the one to look at.
CROSS = Path(
    np.array([(0, 0.55), (0, 1), (0, -0.55), (0, -1), (0.55, 0), (1, 0), (-0.55, 0), (-1, 0)]),
    [Path.MOVETO, Path.LINETO] * 4,
)
MARK = (255, 125, 60)  # vermilion, lighter: it lies on dimmed pictures
LABEL: dict[str, Any] = {
    "facecolors": "none",
    "edgecolors": plot_color(MARK),
    "linewidths": 1.1,
    "path_effects": [withStroke(linewidth=2.2, foreground="black")],
    "s": 110,
    "marker": CROSS,
    "label": "label",
}
HEAT = overlay_heatmap(np.full((1, 256), 128, np.uint8), np.linspace(0, 1, 256)[None])[0] / 255


@dataclass(frozen=True)
class Frame:
    """The network at one step, in evaluation mode.

    Attributes:
        probability: [H, W], 0..1.
        wrong: bool [H / 8, W / 8], valid cells whose largest channel is not the label.
        cells: how many cells are valid.
    """

    step: int
    loss: float
    probability: NDArray[np.floating]
    wrong: NDArray[np.bool_]
    cells: int

    @property
    def title(self) -> str:
        wrong = int(self.wrong.sum())
        return f"step {self.step}: loss {self.loss:.3g}, {wrong if wrong else 'none'} of {self.cells} cells wrong"


def moments(steps: Sequence[int], wrong: Sequence[int], spaced: int = 8, eventful: int = 4) -> list[int]:
    """Return indices of the frames to show, at most `spaced` + `eventful`, first and last included.

    `spaced` are even in log(1 + step), since most changes at first; at `eventful` the number of `wrong` cells changed
    most.
    """
    if not steps:
        return []
    wanted = np.expm1(np.linspace(np.log1p(steps[0]), np.log1p(steps[-1]), spaced))
    chosen = {int(np.abs(np.asarray(steps) - step).argmin()) for step in wanted} | {0, len(steps) - 1}
    change = np.abs(np.diff(np.asarray(wrong)))
    largest = [int(i) + 1 for i in np.argsort(-change, kind="stable") if change[i] and i + 1 not in chosen]
    return sorted(chosen | set(largest[:eventful]))


@matplotlib.rc_context(STYLE)
def heatmap_strip(
    image: NDArray[np.uint8],
    points: ArrayLike,
    positive: NDArray[np.bool_],
    frames: Sequence[Frame],
    title: str,
) -> NDArray[np.uint8]:
    """Draw frames in rows, with right and wrong cells marked in the last one; uint8 RGB [H', W', 3].

    Args:
        image: uint8 [H, W] or [H, W, C].
        points: labels [N, 2], (x, y) in pixels of `image`.
        positive: bool [H / 8, W / 8], cells whose label is a point.
        frames: at least one, in the order of their steps.
    """
    columns = min(COLUMNS, len(frames))
    rows = -(-len(frames) // columns)
    height, width = image.shape[:2]
    scale = min(WIDTH / width, TALLEST * WIDTH / height)
    across, down = max(columns * (width * scale + AROUND), NARROWEST), rows * (height * scale + AROUND) + HEAD_AND_FOOT
    figure = Figure((across / DPI, down / DPI), dpi=DPI, facecolor="white", layout="compressed")
    # Names of files may hold a $, which would start a formula.
    figure.suptitle(title, x=0.01, ha="left", fontsize=SMALL + 4, parse_math=False)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, frame in zip(panels.flat, frames, strict=False):
        _show(axes, image, points, frame, positive if frame is frames[-1] else None)
    for axes in panels.flat[len(frames) :]:
        axes.set_axis_off()
    bar = figure.colorbar(
        ScalarMappable(PowerNorm(0.5, 0, 1), ListedColormap(HEAT)), ax=panels, location="bottom", shrink=0.5, aspect=40,
        ticks=[0, 0.05, 0.25, 0.5, 1],
    )  # fmt: skip
    bar.set_label("probability of a point (colour: its square root)")
    bar.ax.tick_params(labelsize=SMALL)
    handles = [
        panels.flat[0].collections[-1],
        Patch(fill=False, edgecolor=plot_color(SKY), linewidth=1.5, label="at the end: cell with a point, right"),
        Patch(fill=False, edgecolor=plot_color(ORANGE), linewidth=2.0, label="at the end: cell wrong"),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=3)
    return figure_to_image(figure)


def _show(
    axes: Axes, image: NDArray[np.uint8], points: ArrayLike, frame: Frame, positive: NDArray[np.bool_] | None
) -> None:
    heat = np.sqrt(np.asarray(frame.probability, np.float64).clip(0, 1))  # the weak show beside the strong
    axes.imshow(overlay_heatmap(image, heat), interpolation="nearest")
    axes.set_title(frame.title)
    name_axes(axes, "px")
    axes.set_label(f"step {frame.step}")
    if positive is not None:
        for cells, color, line in ((positive & ~frame.wrong, SKY, 1.0), (frame.wrong, ORANGE, 2.0)):
            for row, column in np.argwhere(cells):
                corner = (column * CELL - 0.5, row * CELL - 0.5)
                axes.add_patch(Rectangle(corner, CELL, CELL, fill=False, edgecolor=plot_color(color), linewidth=line))
    where = np.asarray(points, np.float64).reshape(-1, 2)
    axes.scatter(where[:, 0], where[:, 1], **LABEL)
    axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
