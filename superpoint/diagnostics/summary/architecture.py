"""Draw a network as boxes: the encoder's stages, the heads, and the decoding."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import matplotlib.backends.backend_svg  # sets the defaults of svg.*, which rc_context then overrides
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon

from superpoint.diagnostics.summary.layers import FLOP_CONVENTION, Block, ModelSummary
from superpoint.files import make_folder, write_atomically
from superpoint.visualize import BLUE, GREEN, VERMILION, plot_color, save_figure

NAMES = {"encoder": "encoder", "detector": "detector head", "descriptor": "descriptor head"}
COLORS = {"input": (120, 120, 120), "encoder": BLUE, "detector": VERMILION, "descriptor": GREEN}
TALLEST, THINNEST, WIDEST = 168.0, 10.0, 74.0  # px: the largest map's height, a single channel, the most channels
DEPTH = 0.30  # of a side that recedes, along each axis of the page
COMPRESSION = 0.55  # exponent: drawn to scale, a map of stride 8 would be a dot beside the image
SLOT, GAP, WIDE_GAP = 112.0, 20.0, 58.0  # px: least room of a box (its text), between boxes, with text over the arrow
CAPTION = 72.0  # px below a box
MARGIN, HEAD = 26.0, 84.0  # px
DPI = 100


def architecture_figure(summary: ModelSummary, title: str = "Architecture") -> Figure:
    """Draw the blocks of a network from left to right, the heads one above the other.

    The front of a box is as wide as its channels and as high as its map, its depth is the map's width, all compressed.
    """
    boxes = _boxes(summary.blocks)
    trunk = [box for box in boxes if box.block.part in ("input", "encoder")]
    parts = ("detector", "descriptor")
    lanes = [lane for part in parts if (lane := [box for box in boxes if box.block.part == part])]
    heights = [max(box.height for box in lane) + CAPTION + 30 for lane in lanes]
    tallest = max(max(box.height for box in trunk) + CAPTION, sum(heights))
    height = HEAD + tallest + MARGIN
    fork = WIDE_GAP if len(lanes) > 1 else GAP
    width = 2 * MARGIN + _lane_width(trunk) + max((fork + _lane_width(lane) for lane in lanes), default=0)

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), label="architecture")
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    axes.text(MARGIN, height - 14, title, fontsize=13, weight="bold", va="top", parse_math=False)
    axes.text(MARGIN, height - 38, _subtitle(summary), fontsize=8.5, va="top", color="0.25")

    middle = MARGIN + tallest / 2
    centre = middle + CAPTION / 2 - 10
    end, right = _draw_lane(axes, trunk, MARGIN, centre, None)
    top = middle + sum(heights) / 2
    for lane, tall in zip(lanes, heights, strict=True):
        beside = centre if len(lanes) == 1 else top - (tall - CAPTION) / 2
        _draw_lane(axes, lane, right + fork, beside, end, right + fork / 4)
        top -= tall
    return figure


@dataclass(frozen=True)
class _Box:
    """A block and the size of its drawing in px: front (channels wide, rows high), depth (columns)."""

    block: Block
    front: tuple[float, float]
    depth: float

    @property
    def width(self) -> float:
        return self.front[0] + self.depth

    @property
    def height(self) -> float:
        return self.front[1] + self.depth

    @property
    def slot(self) -> float:
        return max(self.width, SLOT)

    @property
    def gap(self) -> float:
        return WIDE_GAP if self.block.before else GAP


def _boxes(blocks: Sequence[Block]) -> list[_Box]:
    side = max(max(block.shape[:2]) for block in blocks)
    channels = max(block.shape[2] for block in blocks)
    boxes = []
    for block in blocks:
        # The image's rows set the height, so the side that is longer may be the one that recedes.
        tall, deep = (TALLEST * (length / side) ** COMPRESSION for length in block.shape[:2])
        share = (block.shape[2] / channels) ** COMPRESSION
        boxes.append(_Box(block, (THINNEST + (WIDEST - THINNEST) * share, tall), deep * DEPTH))
    return boxes


def _lane_width(lane: Sequence[_Box]) -> float:
    return sum(box.slot for box in lane) + sum(box.gap for box in lane[1:])


def _draw_lane(
    axes: Axes,
    lane: Sequence[_Box],
    left: float,
    middle: float,
    source: tuple[float, float] | None,
    turn: float = 0.0,
) -> tuple[tuple[float, float], float]:
    """Draw boxes joined by arrows; the first arrow comes from `source` and turns up or down at x = `turn`.

    Returns: where an arrow from the last box begins, and the right end of that box's room.
    """
    end = source
    named = False
    for index, box in enumerate(lane):
        block = box.block
        left += box.gap if index else 0
        corner = left + (box.slot - box.width) / 2, middle - box.height / 2
        if end is not None:
            _arrow(axes, end, (corner[0] - 2, middle), block.before, turn)
        _box(axes, box, corner)
        _caption(axes, block, left + box.slot / 2, corner[1])
        if not named and block.part in NAMES:
            ink = [0.8 * channel for channel in plot_color(COLORS[block.part])]
            axes.text(corner[0], corner[1] + box.height + 7, NAMES[block.part], color=ink, fontsize=10, weight="bold")
            named = True
        end = corner[0] + box.width + 3, middle
        left += box.slot
    assert end is not None
    return end, left


def _box(axes: Axes, box: _Box, corner: tuple[float, float]) -> None:
    (x, y), (width, height), depth = corner, box.front, box.depth
    color = plot_color(COLORS[box.block.part])
    front = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    top = [front[3], front[2], (x + width + depth, y + height + depth), (x + depth, y + height + depth)]
    side = [front[1], (x + width + depth, y + depth), (x + width + depth, y + height + depth), front[2]]
    for face, light in ((front, 0.45), (top, 0.68), (side, 0.15)):
        tint = tuple(channel + (1 - channel) * light for channel in color)
        patch = Polygon(face, closed=True, facecolor=tint, edgecolor="white", linewidth=0.8, joinstyle="round")
        patch.set_gid(f"box-{box.block.name}" if face is front else None)
        axes.add_patch(patch)


def _caption(axes: Axes, block: Block, x: float, y: float) -> None:
    rows, columns, channels = block.shape
    shape = f"{rows} x {columns}" if channels == 1 else f"{rows} x {columns} x {channels}"
    text = [block.name.removeprefix("encoder."), block.content]
    if block.parameters:
        text += [f"{_short(block.parameters).strip()} parameters", f"{_short(block.flops)}FLOP"]
    axes.text(x, y - 5, shape, fontsize=9.5, weight="bold", ha="center", va="top")
    axes.text(
        x, y - 20, "\n".join(text), fontsize=8, ha="center", va="top", color="0.2", linespacing=1.25, parse_math=False
    )


def _arrow(axes: Axes, start: tuple[float, float], stop: tuple[float, float], text: str, turn: float) -> None:
    line = {"color": "0.3", "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    if abs(start[1] - stop[1]) > 1:
        axes.plot([start[0], turn, turn], [start[1], start[1], stop[1]], color="0.3", linewidth=1.1)
        start = turn, stop[1]
    axes.add_patch(FancyArrowPatch(start, stop, arrowstyle="-|>", **line))
    if text:
        words = textwrap.fill(text, 9, break_long_words=False)
        x, y = (start[0] + stop[0]) / 2, stop[1] + 4
        axes.text(x, y, words, fontsize=8, style="italic", ha="center", va="bottom", linespacing=1.1, parse_math=False)


def _short(count: int) -> str:
    """With an SI prefix: 37.7 k, 1.44 G."""
    for size, prefix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g} {prefix}"
    return f"{count} "


def _subtitle(summary: ModelSummary) -> str:
    padded = ""
    if summary.padded != (summary.height, summary.width):
        padded = f" (padded to {summary.padded[0]} x {summary.padded[1]})"
    return (
        f"image {summary.height} x {summary.width}{padded}; sizes are height x width x channels; "
        f"{_short(summary.parameters).strip()} parameters, {_short(summary.flops).strip()}FLOP ({FLOP_CONVENTION})"
    )


def save_architecture(path: str | Path, figure: Figure) -> Path:
    """Write the drawing as .png, else as SVG (text as outlines, the same bytes every time).

    Raises: UserError if the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() == ".png":
        return save_figure(target, figure)
    make_folder(target.parent)
    with matplotlib.rc_context({"svg.hashsalt": "superpoint", "svg.fonttype": "path"}):
        metadata = {"Date": None, "Creator": None}
        write_atomically(target, lambda file: figure.savefig(file, format="svg", metadata=metadata))
    return target
