"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file; what it does not name has its default.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="key.path=value, over the file", show_default=False)]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the resolved configuration and stop.")]
Run = Annotated[Path, typer.Argument(help="run folder, weights file or name of pretrained weights", show_default=False)]


def command_group() -> typer.Typer:
    """A Typer app with the settings of all of ours; `superpoint.cli` puts them together."""
    return typer.Typer(
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
