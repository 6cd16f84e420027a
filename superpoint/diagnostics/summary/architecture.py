"""Draw a network as boxes: the encoder at each of its resolutions, then the heads."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import matplotlib
import matplotlib.backends.backend_svg  # sets the defaults of svg.*, which rc_context then overrides
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from superpoint.diagnostics.summary.layers import FLOP_CONVENTION, Layer, ModelSummary, Shape
from superpoint.files import make_folder, write_atomically
from superpoint.visualize import BLUE, GREEN, VERMILION, plot_color, save_figure

PARTS = {
    "encoder": ("encoder", BLUE),
    "detector": ("detector head", VERMILION),
    "descriptor": ("descriptor head", GREEN),
}
SLOT, LANE, HEAD = 150, 230, 60  # px: room of a box across and down, title
WIDEST, HIGHEST = 0.55, 0.5  # of that room: the most channels, the largest map
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
    """Return the stages of encoder and heads in the order of execution."""
    called = [(layer.name.split(".")[0], layer) for layer in layers if len(layer.shape) == 3]
    found = []
    for (part, _), group in groupby(called, key=lambda each: (each[0], each[1].shape[:2])):
        joined = [layer for _, layer in group]
        parameters, flops = (sum(getattr(layer, key) for layer in joined) for key in ("parameters", "flops"))
        if part in PARTS:
            found.append(Stage(part, joined[-1].shape, sum(bool(each.flops) for each in joined), parameters, flops))
    return found


def architecture_figure(summary: ModelSummary, title: str = "Architecture") -> Figure:
    """Draw the stages of a network from left to right, the heads one above the other.

    A box is as wide as its channels and as high as its map, both compressed.
    """
    drawn = stages(summary.layers)
    lanes = [lane for part in PARTS if (lane := [stage for stage in drawn if stage.part == part])]
    trunk, heads = lanes[0], lanes[1:]
    columns, rows = len(trunk) + max(map(len, heads), default=0), max(len(heads), 1)
    tallest, most = max(stage.shape[0] for stage in drawn), max(stage.shape[2] for stage in drawn)
    figure = Figure((columns * SLOT / DPI, (rows * LANE + HEAD) / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, rows * LANE / (rows * LANE + HEAD)), label="architecture")
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.axis("off")
    padded = "" if summary.padded == (summary.height, summary.width) else ", padded to multiples of 8"
    figure.text(0.1 / columns, 0.98, title, fontsize=13, weight="bold", va="top", parse_math=False)
    about = f"image {summary.height} x {summary.width}{padded}; {FLOP_CONVENTION}"
    figure.text(0.1 / columns, 0.98 - 24 / (rows * LANE + HEAD), about, fontsize=8, va="top", color="0.25")
    places = [(0, (rows - 1) / 2, trunk), *((len(trunk), row, lane) for row, lane in enumerate(heads))]
    for first, y, lane in places:
        name, color = PARTS[lane[0].part]
        axes.text(first - 0.4, y - HIGHEST / 2 - 0.18, name, color=plot_color(color), fontsize=10, weight="bold")
        for x, stage in enumerate(lane, first):
            width = WIDEST * (stage.shape[2] / most) ** COMPRESSION
            height = HIGHEST * (stage.shape[0] / tallest) ** COMPRESSION
            corner = x - width / 2, y - 0.1 - height / 2
            axes.add_patch(Rectangle(corner, width, height, color=plot_color(color), alpha=0.6, gid=f"{name} {x}"))
            layers = f"{stage.layers} layer{'s' if stage.layers != 1 else ''}"
            text = f"{' x '.join(map(str, stage.shape))}\n{layers}\n{_totals(stage)}"
            axes.text(x, y - 0.08 + height / 2, text, fontsize=8, ha="center", va="top", linespacing=1.3)
            if x:
                before = x - 1, (rows - 1) / 2 - 0.1 if x == first else y - 0.1
                arrow = {"arrowstyle": "-|>", "color": "0.3", "shrinkA": 38, "shrinkB": 38}
                axes.annotate("", (x, y - 0.1), before, arrowprops=arrow)
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
    """Write the drawing as .png, else as SVG as wide as the page (text as outlines, the same bytes every time).

    Raises: UserError if the file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() == ".png":
        return save_figure(target, figure)
    make_folder(target.parent)
    with matplotlib.rc_context({"svg.hashsalt": "superpoint", "svg.fonttype": "path"}):
        metadata = {"Date": None, "Creator": None}
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=metadata)
    drawing = re.sub(r'width="[^"]+" height="[^"]+" (?=viewBox)', 'width="100%" ', buffer.getvalue(), count=1)
    write_atomically(target, lambda file: file.write(drawing.encode()))
    return target
