"""The console command `superpoint`: one sub-command a stage, see `superpoint.commands`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from superpoint.commands import classification, diagnostics, evaluation, inference, interop, labels, runs, training
from superpoint.commands.options import command_group
from superpoint.errors import UserError

# Click's, which Typer brings along under a name of its own.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = command_group()
app.info.help = __doc__
for group in (training, runs, evaluation, diagnostics, labels, classification, inference, interop):
    app.add_typer(group.app)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (also SUPERPOINT_DEBUG=1).")] = False,
) -> None:
    if debug:
        os.environ["SUPERPOINT_DEBUG"] = "1"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a `UserError` or a mistake in the options is one line on standard error and exit code 2.

    Raises: SystemExit, always.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        # Not standalone: Typer would print its own three lines about a mistake.
        raise SystemExit(app(args=arguments, prog_name="superpoint", standalone_mode=False) or 0)
    except UsageError as error:
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
            print(context.get_help(), file=sys.stderr)
        else:
            place = f" (see {context.command_path} --help)" if context is not None else ""
            message = getattr(error, "format_message", error.__str__)()
            print(f"error: {' '.join(message.split())}{place}", file=sys.stderr)
        raise SystemExit(2) from None
    except typer.Abort:  # Ctrl-C where no stage listens for it
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except UserError as error:
        if os.environ.get("SUPERPOINT_DEBUG") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except (MemoryError, RuntimeError) as error:
        # torch raises RuntimeError for an allocation that fails; anything else of that kind is a fault of ours.
        text = str(error)
        if os.environ.get("SUPERPOINT_DEBUG") == "1" or not (isinstance(error, MemoryError) or "allocate" in text):
            raise
        print(f"error: not enough memory ({' '.join(text.split())[-120:] or 'out of memory'})", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        # A full disk or a vanished folder in the middle of a stage: the user's to mend as well.
        if os.environ.get("SUPERPOINT_DEBUG") == "1":
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or error}", file=sys.stderr)
        raise SystemExit(2) from None
