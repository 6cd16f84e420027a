"""The command that lists training runs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from superpoint.commands.options import command_group

app = command_group()


@app.command("runs")
def runs_command(
    folder: Annotated[Path, typer.Argument(help="with run folders at any depth")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects, and nothing else.")] = False,
) -> None:
    """List training runs: stage, state, step, best score, size, age, and how to go on with those that are not finished.

    Example: superpoint runs runs --json
    """
    from superpoint.engine.runs import find_runs  # PyTorch: slow to import

    found = find_runs(folder)
    if as_json:
        typer.echo(json.dumps([status.as_dict() for status in found], indent=1))
        return
    if not found:
        typer.echo(f"{folder}: no runs yet; superpoint train-magicpoint makes one")
        return
    table = Table()
    for column in ("run", "stage", "state", "step", "best", "size", "age"):
        table.add_column(column, justify="right" if column in ("step", "best", "size", "age") else "left")
    now = time.time()
    for status in found:
        best = "-" if status.score is None else f"{status.metric} {status.score:.3f}"
        cells = [str(status.path), status.stage or "-", status.state, f"{status.step:,}", best]
        table.add_row(*cells, f"{status.bytes / 1e6:,.1f} MB", format_age(now - status.modified))
    console = Console(width=max(Console().width, 120))
    console.print(table)
    for status in found:
        if status.resume is not None:
            console.print(f"go on: {status.resume}", soft_wrap=True, highlight=False, markup=False)


def format_age(seconds: float) -> str:
    """Return an age in its largest whole unit, such as "3 h"."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(int(seconds), 0)} s"
