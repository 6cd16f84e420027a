"""A network drawn as boxes, from its summary: the encoder's stages, the heads, and what follows them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.backends.backend_svg  # sets the defaults of svg.*, which rc_context then overrides
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon

from superpoint.diagnostics.summary.layers import FLOP_CONVENTION, Block, ModelSummary
from superpoint.errors import UserError
from superpoint.files import make_folder, write_atomically
from superpoint.visualize import BLUE, GREEN, VERMILION, figure_to_image, plot_color, save_image

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
    """The blocks of a network from left to right, the heads one above the other.

    The front of a box is as wide as its channels and as high as its map, its depth is the map's width; all three are
    compressed (exponent 0.55), so that the image and a map of stride 8 fit on one page.
    """
    trunk = [block for block in summary.blocks if block.part in ("input", "encoder")]
    parts = ("detector", "descriptor")
    lanes = [lane for part in parts if (lane := [block for block in summary.blocks if block.part == part])]
    sizes = _Sizes(summary.blocks)
    heights = [max(sizes.outline(block)[1] for block in lane) + CAPTION + 30 for lane in lanes]
    trunk_height = max(sizes.outline(block)[1] for block in trunk) + CAPTION
    lanes_height = sum(heights)
    height = HEAD + max(trunk_height, lanes_height) + MARGIN
    trunk_width = _lane_width(trunk, sizes)
    fork = WIDE_GAP if len(lanes) > 1 else GAP
    width = 2 * MARGIN + trunk_width + max((fork + _lane_width(lane, sizes) for lane in lanes), default=0)

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), label="architecture")
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    axes.text(MARGIN, height - 14, title, fontsize=13, weight="bold", va="top", parse_math=False)
    axes.text(MARGIN, height - 38, _subtitle(summary), fontsize=8.5, va="top", color="0.25")

    middle = MARGIN + max(trunk_height, lanes_height) / 2
    end, right = _draw_lane(axes, trunk, MARGIN, middle + CAPTION / 2 - 10, sizes, None)
    top = middle + lanes_height / 2
    for lane, tall in zip(lanes, heights, strict=True):
        centre = middle + CAPTION / 2 - 10 if len(lanes) == 1 else top - (tall - CAPTION) / 2
        _draw_lane(axes, lane, right + fork, centre, sizes, end, right + fork / 4)
        top -= tall
    return figure


class _Sizes:
    """Drawn sizes of a block in px, relative to the largest map and the most channels of the network."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.side = max(max(block.shape[:2]) for block in blocks)
        self.channels = max(block.shape[2] for block in blocks)

    def front(self, block: Block) -> tuple[float, float, float]:
        """Width (channels), height (rows) and depth (columns) of its box."""
        rows, columns, channels = block.shape
        share = (channels / self.channels) ** COMPRESSION
        # The image's rows set the height, so the side that is longer may be the one that recedes.
        tall, deep = (TALLEST * (side / self.side) ** COMPRESSION for side in (rows, columns))
        return THINNEST + (WIDEST - THINNEST) * share, tall, deep * DEPTH

    def outline(self, block: Block) -> tuple[float, float]:
        """Width and height of its drawing."""
        width, height, depth = self.front(block)
        return width + depth, height + depth

    def slot(self, block: Block) -> float:
        return max(self.outline(block)[0], SLOT)


def _gap(block: Block) -> float:
    return WIDE_GAP if block.before else GAP


def _lane_width(lane: Sequence[Block], sizes: _Sizes) -> float:
    return sum(sizes.slot(block) for block in lane) + sum(_gap(block) for block in lane[1:])


def _draw_lane(
    axes: Axes,
    lane: Sequence[Block],
    left: float,
    middle: float,
    sizes: _Sizes,
    source: tuple[float, float] | None,
    turn: float = 0.0,
) -> tuple[tuple[float, float], float]:
    """Boxes from `left` on, about the height `middle`, joined by arrows, the first of which comes from `source`.

    Args:
        turn: x where that arrow turns up or down, if it must.

    Returns: where an arrow from the last box begins, and the right end of that box's room.
    """
    end = source
    named = False
    for index, block in enumerate(lane):
        left += _gap(block) if index else 0
        slot, (width, height) = sizes.slot(block), sizes.outline(block)
        corner = left + (slot - width) / 2, middle - height / 2
        if end is not None:
            _arrow(axes, end, (corner[0] - 2, middle), block.before, turn)
        _box(axes, block, corner, sizes)
        _caption(axes, block, left + slot / 2, corner[1])
        if not named and block.part in NAMES:
            ink = [0.8 * channel for channel in plot_color(COLORS[block.part])]
            axes.text(corner[0], corner[1] + height + 7, NAMES[block.part], color=ink, fontsize=10, weight="bold")
            named = True
        end = corner[0] + width + 3, middle
        left += slot
    assert end is not None
    return end, left


def _box(axes: Axes, block: Block, corner: tuple[float, float], sizes: _Sizes) -> None:
    """Front, top and side of a box whose front has its lower left corner there."""
    (x, y), (width, height, depth) = corner, sizes.front(block)
    color = plot_color(COLORS[block.part])
    front = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    top = [front[3], front[2], (x + width + depth, y + height + depth), (x + depth, y + height + depth)]
    side = [front[1], (x + width + depth, y + depth), (x + width + depth, y + height + depth), front[2]]
    for face, light in ((front, 0.45), (top, 0.68), (side, 0.15)):
        tint = tuple(channel + (1 - channel) * light for channel in color)
        patch = Polygon(face, closed=True, facecolor=tint, edgecolor="white", linewidth=0.8, joinstyle="round")
        patch.set_gid(f"box-{block.name}" if face is front else None)
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
    """From box to box, with corners at x = `turn` if they lie at different heights, and the operation above it."""
    line = {"color": "0.3", "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    if abs(start[1] - stop[1]) > 1:
        axes.plot([start[0], turn, turn], [start[1], start[1], stop[1]], color="0.3", linewidth=1.1)
        start = turn, stop[1]
    axes.add_patch(FancyArrowPatch(start, stop, arrowstyle="-|>", **line))
    if text:
        words = "\n".join(_wrap(text))
        x, y = (start[0] + stop[0]) / 2, stop[1] + 4
        axes.text(x, y, words, fontsize=8, style="italic", ha="center", va="bottom", linespacing=1.1, parse_math=False)


def _wrap(text: str, width: int = 9) -> list[str]:
    """Words in lines of about `width` letters."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


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
    """Write the drawing as .svg (text as outlines, the same bytes every time) or .png, whole or not at all.

    Raises:
        UserError: another ending, or a place that cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() == ".png":
        return save_image(target, figure_to_image(figure))
    if target.suffix.lower() != ".svg":
        raise UserError(f"{target}: found the ending '{target.suffix}', expected .svg or .png")
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "superpoint", "svg.fonttype": "path"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    make_folder(target.parent)
    write_atomically(target, lambda file: file.write(content.getbuffer()))
    return target
