"""The console command `superpoint`, see `superpoint.commands`."""

import os
import re
import shlex
import signal
import sys
from dataclasses import fields
from typing import Annotated, Any

import typer

from superpoint import __version__
from superpoint.commands import convert, diagnose, evaluate, label, train, use  # which makes them commands
from superpoint.commands.command import CONFIGS, Stopped, app, first_process
from superpoint.errors import UserError, did_you_mean

__all__ = ["app", "convert", "diagnose", "evaluate", "label", "main", "train", "use"]

# Click's, which Typer brings along under a name of its own.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"superpoint {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (also SUPERPOINT_DEBUG=1).")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
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
        context: Any = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
            print(context.get_help(), file=sys.stderr)
            raise SystemExit(2) from None
        _fail(_usage_line(error, context))
    except typer.Abort:  # Ctrl-C before the command began
        _end(Stopped(signal.SIGINT), arguments)
    except Stopped as stopped:
        _end(stopped, arguments)
    except (UserError, MemoryError, RuntimeError, OSError) as error:
        message = _message(error)
        if message is None or os.environ.get("SUPERPOINT_DEBUG") == "1":
            raise
        _fail(message)


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2) from None


def _end(stopped: Stopped, arguments: list[str]) -> None:
    """Say what is kept and how to go on."""
    line = f"stopped; no unfinished file stays behind, begin anew by: {shlex.join(['superpoint', *arguments])}"
    if stopped.again is not None:
        # What was replaced or set aside at the start must not be so again.
        kept = shlex.join(word for word in arguments if word not in ("--overwrite", *stopped.again))
        kept = re.sub(r" --from[ =]\S+", "", kept)
        line = f"stopped; what is done is kept, go on by: {' '.join(['superpoint', kept, *stopped.again])}"
    if first_process():
        print(line, file=sys.stderr)
    raise SystemExit(128 + stopped.number) from None


def _message(error: Exception) -> str | None:
    """Return the line about what a user can mend; None for a fault of ours."""
    text = str(error)
    if isinstance(error, UserError):
        return text
    if isinstance(error, OSError):  # a full disk, or a folder that vanished
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    # torch raises RuntimeError for an allocation that fails.
    if isinstance(error, MemoryError) or "allocate" in text:
        return f"not enough memory ({' '.join(text.split())[-120:] or 'out of memory'})"
    return None


def _usage_line(error: Exception, context: Any) -> str:
    """Return a mistake in the options as one line that says what is meant, or where to look."""
    text = " ".join(str(getattr(error, "format_message", error.__str__)()).split()).replace("Value error, ", "")
    if context is None:
        return text
    option = str(getattr(error, "option_name", ""))
    key = option.lstrip("-").replace("-", "_")
    if context.info_name in CONFIGS and key in {field.name for field in fields(CONFIGS[context.info_name])}:
        return f"{option}: this command takes it as {key}=VALUE"
    choice = re.search(r"'([^']*)' is not one of (.*)\.", text)
    hint = did_you_mean(choice[1], re.findall(r"'([^']*)'", choice[2])) if choice else ""
    return f"{text.rstrip('.')}{hint} (see {context.command_path} --help)"
