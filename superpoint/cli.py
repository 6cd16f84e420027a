"""The console command `superpoint`: one sub-command a stage, see `superpoint.commands`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from superpoint.commands import diagnostics, evaluation, labels, training
from superpoint.commands.options import command_group
from superpoint.errors import UserError

app = command_group()
app.info.help = __doc__
for group in (training, evaluation, diagnostics, labels):
    app.add_typer(group.app)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (also SUPERPOINT_DEBUG=1).")] = False,
) -> None:
    if debug:
        os.environ["SUPERPOINT_DEBUG"] = "1"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a `UserError` becomes one line on standard error and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        app(args=arguments, prog_name="superpoint")
    except UserError as error:
        if os.environ.get("SUPERPOINT_DEBUG") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        # A full disk or a vanished folder in the middle of a stage: the user's to mend as well.
        if os.environ.get("SUPERPOINT_DEBUG") == "1":
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or error}", file=sys.stderr)
        raise SystemExit(2) from None
