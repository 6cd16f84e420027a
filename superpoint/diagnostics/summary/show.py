"""Stage summary: the layers of a network as a table, and its architecture drawn."""

from itertools import groupby
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from superpoint.config import ModelConfig
from superpoint.diagnostics.summary.architecture import architecture_figure, save_architecture
from superpoint.diagnostics.summary.layers import FLOP_CONVENTION, ModelSummary, summarise
from superpoint.errors import UserError
from superpoint.models import build_model, load_network

LARGEST = 65536  # px; beyond, a side is a slip of the finger


def show_summary(
    source: str | Path | None = None,
    *,
    model: ModelConfig | None = None,
    height: int = 120,
    width: int = 160,
    out: str | Path | None = None,
) -> ModelSummary:
    """Print the layers of a network for an image of height x width, and draw them.

    Args:
        source: run folder, weights or name; None = the network of `model`, untrained.
        out: .svg or .png of the architecture.

    Raises:
        UserError: weights or a size that cannot be used.
    """
    for name, side in (("--height", height), ("--width", width)):
        if not 1 <= side <= LARGEST:
            raise UserError(f"{name}: found {side}, expected 1 to {LARGEST} pixels")
    network = build_model(model or ModelConfig()) if source is None else load_network(source)
    summary = summarise(network, height, width)
    name = "MagicPoint (no descriptor head)" if network.descriptor is None else "SuperPoint"
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a pipe has no width: nothing must be cut
    title = name if source is None else f"{name} of {source}"
    console.print(summary_table(summary, title, plain=not console.is_terminal))
    console.print(totals(summary), highlight=False, soft_wrap=True)
    if out is not None:
        file = save_architecture(out, architecture_figure(summary, name))
        console.print(f"architecture: {file}", highlight=False, soft_wrap=True)
    return summary


def summary_table(summary: ModelSummary, title: str, *, plain: bool = False) -> Table:
    """Return one row per call of a layer; output sizes as height x width x channels."""
    frame = None if plain else box.HEAVY_HEAD
    size = f"{summary.height} x {summary.width}" + (f" x {summary.channels}" if summary.channels > 1 else "")
    table = Table(title=f"{title}, image {size}", box=frame, title_justify="left")
    table.add_column("layer", overflow="fold")
    table.add_column("kind")
    for column in ("output H x W x C", "parameters", "MFLOP"):
        table.add_column(column, justify="right")
    for _, part in groupby(summary.layers, key=lambda layer: layer.name.split(".")[0]):
        for layer in part:
            table.add_row(
                layer.name,
                layer.kind,
                " x ".join(map(str, layer.shape)),
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{layer.flops / 1e6:,.2f}" if layer.flops else "",
            )
        table.add_section()
    return table


def totals(summary: ModelSummary) -> str:
    """Return the last lines: sums and the convention of counting."""
    lines = [f"{summary.parameters:,} parameters, {summary.flops / 1e9:.3f} GFLOP ({FLOP_CONVENTION})"]
    if summary.padded != (summary.height, summary.width):
        lines.append(f"the image is padded to {summary.padded[0]} x {summary.padded[1]}, the output cropped")
    return "\n".join(lines)
