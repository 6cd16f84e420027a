"""What a network says about one image while it learns it: a strip of heatmaps over the steps, and the same animated.

Pure: arrays in, image or GIF bytes out.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from superpoint.diagnostics.heatmaps.layout import ABOVE, HEAD, LEFT, RIGHT, SMALL, Page, name_axes, rgb
from superpoint.geometry.cells import CELL
from superpoint.visualize import ORANGE, SKY, figure_to_image, overlay_heatmap

COLUMNS = 3
WIDTH = 480  # px of a picture, at most: three times one of 160 px, so that a peak of one pixel can be seen
TALLEST = 1.2  # height of a picture over its width, at most; taller ones are drawn narrower
TOP, AXIS, FOOT = 34, 38, 62  # px: heading, ticks and name of an axis, legend with colour bar
NARROWEST = 570  # px, which the legend needs
MILLISECONDS, PAUSE = 700, 3000  # a frame of the animation, its last frame
# A cross that is open in the middle: the pixel that it marks is the one to look at.
CROSS = Path(
    np.array([(0, 0.55), (0, 1), (0, -0.55), (0, -1), (0.55, 0), (1, 0), (-0.55, 0), (-1, 0)]),
    [Path.MOVETO, Path.LINETO] * 4,
)
MARK = (255, 125, 60)  # vermilion, lighter: it lies on dimmed pictures
RIM = [withStroke(linewidth=2.2, foreground="black")]


@dataclass(frozen=True)
class Frame:
    """The network at one step.

    Attributes:
        step: optimiser steps made so far.
        loss: on the image (or images) that are learnt, in evaluation mode.
        probability: [H, W], 0..1.
        wrong: bool [H / 8, W / 8], valid cells whose largest channel is not the label.
        cells: how many cells count.
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
    """Which frames to show: at most `spaced` + `eventful` indices of the ascending `steps`, first and last included.

    `spaced` are even in log(1 + step), since most changes at first; `eventful` are where the number of `wrong` cells
    changed most from the frame before.
    """
    if not steps:
        return []
    wanted = np.expm1(np.linspace(np.log1p(steps[0]), np.log1p(steps[-1]), spaced))
    chosen = {int(np.abs(np.asarray(steps) - step).argmin()) for step in wanted} | {0, len(steps) - 1}
    change = np.abs(np.diff(np.asarray(wrong)))
    largest = [int(i) + 1 for i in np.argsort(-change, kind="stable") if change[i] and i + 1 not in chosen]
    return sorted(chosen | set(largest[:eventful]))


def heatmap_strip(
    image: NDArray[np.uint8], points: ArrayLike, positive: NDArray[np.bool_], frames: Sequence[Frame], title: str
) -> NDArray[np.uint8]:
    """All frames beside each other, the last one with its right and wrong cells marked.

    Args:
        image: uint8 [H, W].
        points: labels [N, 2], (x, y) in pixels of `image`.
        positive: bool [H / 8, W / 8], cells whose label is a point.
        frames: at least one, in the order of their steps.
        title: heading of the sheet.

    Returns:
        uint8 RGB [H', W', 3].
    """
    columns = min(COLUMNS, len(frames))
    rows = -(-len(frames) // columns)
    width, height = _size(image)
    step_x, step_y = LEFT + width + RIGHT, ABOVE + height + AXIS
    page = Page(max(columns * step_x, NARROWEST), TOP + rows * step_y + FOOT)
    page.text(10, 9, title, HEAD)
    for number, frame in enumerate(frames):
        row, column = divmod(number, columns)
        axes = page.axes(column * step_x + LEFT, TOP + row * step_y + ABOVE, width, height, f"step {frame.step}")
        _show(axes, image, points, frame, positive if number == len(frames) - 1 else None)
    _legend(page, TOP + rows * step_y, marked="in the last frame: ")
    return figure_to_image(page.figure)


def heatmap_animation(
    image: NDArray[np.uint8], points: ArrayLike, positive: NDArray[np.bool_], frames: Sequence[Frame], title: str
) -> bytes:
    """The frames one after the other as an animated GIF without end; arguments are those of `heatmap_strip`."""
    pictures = []
    width, height = _size(image)
    for number, frame in enumerate(frames):
        page = Page(max(LEFT + width + RIGHT, NARROWEST), TOP + ABOVE + height + AXIS + FOOT)
        page.text(10, 9, title, HEAD)
        axes = page.axes(LEFT, TOP + ABOVE, width, height, f"step {frame.step}")
        _show(axes, image, points, frame, positive if number == len(frames) - 1 else None)
        _legend(page, TOP + ABOVE + height + AXIS, marked="at the end: ")
        pictures.append(_with_palette(figure_to_image(page.figure)))
    durations = [MILLISECONDS] * (len(pictures) - 1) + [PAUSE]
    stream = io.BytesIO()
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return stream.getvalue()


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """A strip uint8 RGB as PNG with a palette of 256 colours: a third of the size."""
    stream = io.BytesIO()
    _with_palette(picture).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _with_palette(picture: NDArray[np.uint8]) -> Image.Image:
    """The picture in greys, the colours of heatmaps on greys, and those of the marks.

    Palettes chosen by frequency leave out what matters most, the few pixels of the peaks.
    """
    greys = np.repeat(np.linspace(0, 255, 103).round().astype(np.uint8)[:, None], 3, axis=1)
    base, level = np.meshgrid(np.linspace(0, 255, 9), np.linspace(0.06, 1, 16))
    heat = overlay_heatmap(base.round().astype(np.uint8), level, limits=(0.0, 1.0)).reshape(-1, 3)
    marks = np.array([MARK, SKY, ORANGE], np.float64)
    faded = np.concatenate([marks, marks * 0.66, marks * 0.33]).round().astype(np.uint8)  # antialiased edges, on black
    palette = np.concatenate([greys, heat, faded])
    packed = picture.astype(np.int32) @ np.array([65536, 256, 1])
    found, where = np.unique(packed, return_inverse=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    nearest = [
        ((part[:, None] - palette.astype(np.int32)) ** 2).sum(axis=2).argmin(axis=1)
        for part in np.array_split(colours, len(colours) // 4096 + 1)  # 12 MB at a time
    ]
    drawn = Image.fromarray(np.concatenate(nearest)[where].reshape(picture.shape[:2]).astype(np.uint8), "P")
    drawn.putpalette(palette.tobytes())
    return drawn


def _size(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height in px at which a picture is drawn: whole multiples of its own where it is small."""
    height, width = image.shape
    scale = min(WIDTH / width, TALLEST * WIDTH / height)
    scale = float(int(scale)) if scale >= 2 else scale
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _show(
    axes: Axes, image: NDArray[np.uint8], points: ArrayLike, frame: Frame, positive: NDArray[np.bool_] | None
) -> None:
    heat = np.sqrt(np.asarray(frame.probability, np.float64).clip(0, 1))  # the weak show beside the strong
    axes.imshow(overlay_heatmap(image, heat, limits=(0.0, 1.0)), interpolation="nearest")
    axes.set_title(frame.title, fontsize=SMALL + 1, loc="left", pad=5)
    name_axes(axes, "x (px)", "y (px)")
    if positive is not None:
        for cells, color, line in ((positive & ~frame.wrong, SKY, 1.0), (frame.wrong, ORANGE, 2.0)):
            for row, column in np.argwhere(cells):
                corner = (column * CELL - 0.5, row * CELL - 0.5)
                axes.add_patch(Rectangle(corner, CELL, CELL, fill=False, edgecolor=rgb(color), linewidth=line))
    where = np.asarray(points, np.float64).reshape(-1, 2)
    style = {"facecolors": "none", "edgecolors": rgb(MARK), "linewidths": 1.1, "path_effects": RIM}
    axes.scatter(where[:, 0], where[:, 1], s=110, marker=CROSS, label="label", **style)  # pyright: ignore
    axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))


def _legend(page: Page, top: float, marked: str) -> None:
    """What the marks mean, and the colours of the heatmap as they look on a mid-grey image."""
    page.text(LEFT, top + 2, "probability of a point (colour: its square root)", SMALL)
    bar = page.axes(LEFT, top + 20, 200, 9, "colour bar")
    ramp = np.tile(np.linspace(0, 1, 200), (9, 1))
    bar.imshow(overlay_heatmap(np.full((9, 200), 128, np.uint8), ramp, limits=(0.0, 1.0)), aspect="auto")
    ticks = np.array([0, 0.05, 0.25, 0.5, 1.0])
    bar.set_xticks(np.sqrt(ticks) * 199, [f"{tick:g}" for tick in ticks])
    bar.set_yticks([])
    key = page.axes(LEFT + 282, top + 2, 220, 48, "legend")
    key.set_axis_off()
    key.set(xlim=(0, 220), ylim=(48, 0))
    style = {"facecolors": "none", "edgecolors": rgb(MARK), "linewidths": 1.1, "path_effects": RIM}
    key.scatter([6], [7], s=110, marker=CROSS, **style)  # pyright: ignore
    key.text(18, 7, "label", fontsize=SMALL, va="center")
    for y, color, line, text in ((23, SKY, 1.5, "cell with a point, right"), (39, ORANGE, 2.0, "cell wrong")):
        key.add_patch(Rectangle((1, y - 5), 10, 10, fill=False, edgecolor=rgb(color), linewidth=line))
        key.text(18, y, marked + text, fontsize=SMALL, va="center")
