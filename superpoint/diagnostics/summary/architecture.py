"""Draw a network as boxes: the encoder at each of its resolutions, the fine branch, the heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import matplotlib
import matplotlib.backends.backend_svg  # sets the defaults of svg.*, which rc_context then overrides
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from superpoint.diagnostics.summary.layers import FLOP_CONVENTION, Layer, ModelSummary, Shape
from superpoint.files import make_folder, write_atomically
from superpoint.visualize import BLUE, GREEN, ORANGE, VERMILION, plot_color, save_figure

PARTS = {  # by how the names of their layers begin: the first that fits
    "encoder": ("encoder", BLUE),
    "detector.fine": ("fine branch", ORANGE),
    "descriptor": ("descriptor head", GREEN),
    "detector": ("detector head", VERMILION),
}
COLUMN, ROW, HEAD = 190, 188, 90  # px: room of a stage across and down, of the title; two columns fit a phone
WIDEST, HIGHEST = 150, 80  # px: the most channels, the largest map
TEXT = 84  # px: the lines below a box
COMPRESSION = 0.55  # exponent: drawn to scale, a map of stride 8 would be a dot beside the image
DPI = 100


@dataclass(frozen=True)
class Stage:
    """Layers of one part of the network, one after the other, whose outputs have the same height and width.

    Attributes:
        shape: of the last output.
        layers: those with weights.
    """

    part: str
    shape: Shape
    layers: int
    parameters: int
    flops: int


def stages(layers: Sequence[Layer]) -> list[Stage]:
    """Return the stages of encoder, fine branch and heads, each part's in the order of execution."""
    called = [(part, layer) for layer in layers if len(layer.shape) == 3 and (part := _part(layer))]
    found = []
    for (part, _), group in groupby(called, key=lambda each: (each[0], each[1].shape[:2])):
        joined = [layer for _, layer in group]
        parameters, flops = (sum(getattr(layer, key) for layer in joined) for key in ("parameters", "flops"))
        found.append(Stage(part, joined[-1].shape, sum(bool(each.flops) for each in joined), parameters, flops))
    return found


def _part(layer: Layer) -> str | None:
    return next((part for part in PARTS if layer.name.startswith(f"{part}.")), None)


def architecture_figure(summary: ModelSummary, title: str = "Architecture") -> Figure:
    """Draw the encoder from top to bottom, the fine branch beside the stage it reads, the heads below.

    A box is as wide as its channels and as high as its map, both compressed.
    """
    drawn = stages(summary.layers)
    lanes = {part: lane for part in PARTS if (lane := [stage for stage in drawn if stage.part == part])}
    trunk, fine = lanes["encoder"], lanes.get("detector.fine", [])
    heads = [part for part in ("descriptor", "detector") if part in lanes]
    places = {"encoder": (0, 0)}  # column and row of the first stage
    places |= {part: (int(part == "detector" and len(lanes) > 2), len(trunk)) for part in heads}
    links = [((part, index), (part, index + 1)) for part, lane in lanes.items() for index in range(len(lane) - 1)]
    links += [(("encoder", len(trunk) - 1), (part, 0)) for part in heads]
    if fine:
        read = max(row for row, stage in enumerate(trunk) if stage.shape[:2] == fine[0].shape[:2])
        places["detector.fine"] = 1, read
        links += [(("encoder", read), ("detector.fine", 0)), (("detector.fine", len(fine) - 1), ("detector", 0))]
    rows = max(places[part][1] + len(lane) for part, lane in lanes.items())
    width, height = 2 * COLUMN, HEAD + ROW * rows - 30
    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), label="architecture", xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    padded = "" if summary.padded == (summary.height, summary.width) else ", padded to multiples of 8"
    axes.text(8, 8, title, fontsize=13, weight="bold", va="top", parse_math=False)
    about = f"image {summary.height} x {summary.width}{padded}; {FLOP_CONVENTION}".replace("; ", "\n")
    axes.text(8, 32, about, fontsize=8.5, va="top", color="0.25", linespacing=1.3)
    tallest, most = max(stage.shape[0] for stage in drawn), max(stage.shape[2] for stage in drawn)
    boxes: dict[tuple[str, int], Rectangle] = {}
    for part, (column, row) in places.items():
        name, color = PARTS[part]
        for index, stage in enumerate(lanes[part]):
            across = WIDEST * (stage.shape[2] / most) ** COMPRESSION
            down = HIGHEST * (stage.shape[0] / tallest) ** COMPRESSION
            x, y = COLUMN * (column + 0.5), HEAD + ROW * (row + index) + HIGHEST / 2
            corner = x - across / 2, y - down / 2
            box = Rectangle(corner, across, down, color=plot_color(color), alpha=0.6, gid=f"{name} {index}")
            axes.add_patch(box)
            boxes[part, index] = box
            layers = f"{stage.layers} layer{'s' if stage.layers != 1 else ''}"
            text = f"{' x '.join(map(str, stage.shape))}\n{layers}\n{_totals(stage)}"
            below = y + down / 2 + 3
            if not index:
                axes.text(x, below, name, color=plot_color(color), fontsize=10, weight="bold", ha="center", va="top")
            axes.text(x, below + (0 if index else 17), text, fontsize=8.5, ha="center", va="top", linespacing=1.25)
    if fine:
        axes.text(1.5 * COLUMN + 8, HEAD + ROW * len(trunk) - 30, "added to\nthe logits", fontsize=8.5)
    for link in links:
        (x, y), (to_x, to_y) = (boxes[each].get_center() for each in link)
        source, target = (boxes[each] for each in link)
        if y == to_y:
            start, end = (x + source.get_width() / 2 + 4, y), (to_x - target.get_width() / 2 - 4, y)
        else:  # a slanting arrow ends left of the one from above
            aside = target.get_width() / 3 if x != to_x else 0
            start, end = (x, y + source.get_height() / 2 + TEXT), (to_x - aside, to_y - target.get_height() / 2 - 3)
        arrow = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color="0.3", shrinkA=0, shrinkB=0)
        arrow.set_gid(" > ".join(f"{PARTS[part][0]} {index}" for part, index in link))
        axes.add_patch(arrow)
    return figure


def _totals(counted: ModelSummary | Stage) -> str:
    return f"{_short(counted.parameters).strip()} parameters\n{_short(counted.flops)}FLOP"


def _short(count: int) -> str:
    """With an SI prefix: 37.7 k, 1.44 G."""
    for size, prefix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g} {prefix}"
    return f"{count} "


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
