"""How a command is made: its configuration, its output, how it ends."""

import contextlib
import functools
import inspect
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option
from typer.core import TyperGroup

from superpoint.budget import Budget
from superpoint.commands.options import FIELDS, check_inputs, check_settings
from superpoint.config import dump_config, load_config
from superpoint.config.loading import recipe_names
from superpoint.errors import UserError
from superpoint.files import read_text

USE, LABEL, TRAIN, EVALUATE, DIAGNOSE, CONVERT = "Use", "Label", "Train", "Evaluate", "Diagnose", "Convert"
LONGEST = 150  # characters of a command's help in the list of commands
OVERRIDE = re.compile(r"[a-z_]+(\.[a-z_]+)*=.*", re.DOTALL)

# A dataclass, or a function (file, overrides, options) -> one, whose annotation names its class.
Load = Callable[..., Any]
CONFIGS: dict[str, type] = {}  # command -> what its `key=value` sets

CONFIG = Annotated[
    str | None, Option("--config", metavar="NAME|FILE", help="Recipe or YAML file.", autocompletion=recipe_names)
]
PRINT_CONFIG = Annotated[bool, Option("--print-config", help="Print the complete configuration and stop.")]
OVERRIDES = Annotated[list[str] | None, Argument(metavar="KEY=VALUE", help="settings; --print-config lists them")]
INPUTS = Annotated[
    list[str] | None,
    Argument(
        metavar="IMAGES... [KEY=VALUE]",
        help="folders, globs, lists (.txt), images, HDF5, tar shards (shard-{000..012}.tar); "
        "and settings, in place of those of the recipe",
    ),
]
QUIET = Annotated[bool, Option("--quiet", help="Print errors only.")]
MINUTES = Annotated[
    float | None,
    Option(min=0.1, metavar="N", help="Time for all of it; without, each phase takes what the recipe says."),
]
JSON = Annotated[bool, Option("--json", help="Print the result as JSON, and nothing else.")]


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        result: what --json prints, or the JSON file that holds it.
        signal: what stopped it.
        failed: exit code 1.
    """

    result: Any = None
    signal: int | None = None
    failed: bool = False


class Stopped(Exception):
    """A command was stopped by a signal; with the words `again` it goes on where it was (None: it begins anew)."""

    def __init__(self, number: int, again: Sequence[str] | None = None) -> None:
        super().__init__(number)
        self.number = number
        self.again = again


class Sections(TyperGroup):
    """A group whose help lists its commands under headings."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, each in self.commands.items():
            heading = getattr(each, "rich_help_panel", None) or "Commands"
            sections.setdefault(heading, []).append((name, each.get_short_help_str(LONGEST)))
        for heading in sorted(sections, key=[USE, LABEL, TRAIN, EVALUATE, DIAGNOSE, CONVERT, "Commands"].index):
            with formatter.section(heading):
                formatter.write_dl(sections[heading])


def command_group(text: str) -> typer.Typer:
    return typer.Typer(
        cls=Sections,
        help=text,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


app = command_group("Keypoints and descriptors: use SuperPoint, label images, train it, measure it, say why it fails.")


def subgroup(name: str, panel: str, text: str) -> typer.Typer:
    """Return a group of commands below `superpoint NAME`."""
    group = command_group(text)
    group.info.name = name
    app.add_typer(group, name=name, rich_help_panel=panel)
    return group


def command(
    name: str,
    place: str | typer.Typer,
    *,
    config: Load | None = None,
    inputs: bool = False,
    options: type | None = None,
    only: Sequence[str] = (),
    as_json: bool = False,
    continues: bool = False,
) -> Callable[[Callable[..., Outcome | None]], Callable[..., None]]:
    """Make a function a command: its parameters become options, its docstring the help.

    Lines of the docstring that begin with "superpoint" are the examples. A parameter `budget` becomes --minutes.

    Args:
        place: a heading of `superpoint --help`, or a group.
        config: take --config, key=value and --print-config; the function gets the configuration first.
        inputs: take images beside key=value; the function gets them second.
        options: a dataclass whose fields become options (`options.FIELDS`); the function gets it first.
        only: the fields of `options` that become options; default all.
        as_json: take --json, which prints the result of the `Outcome`.
        continues: given again after a stop, the command goes on where it was; one that has --resume, with that.
    """
    title = name if isinstance(place, str) else f"{place.info.name} {name}"
    names = only or ([field.name for field in fields(options)] if options else [])

    def register(function: Callable[..., Outcome | None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*, quiet: bool = False, as_json: bool = False, **given: Any) -> None:
            arguments: list[Any] = []
            words = given.pop("arguments", None) or []
            overrides = [each for each in words if not inputs or _is_override(each)]
            file, print_config = given.pop("config", None), given.pop("print_config", False)
            if budgeted:
                given["budget"] = _budget(given.pop("minutes"), overrides)
            if not print_config:
                _check(parameters, given)
            if options is not None:
                arguments.append(options(**{key: given.pop(key) for key in names}))
            if config is not None:
                arguments.append(_load(config, file, overrides, given))
            if print_config:
                typer.echo(dump_config(arguments[0]), nl=False)
                return
            check_settings(arguments[0] if arguments else None, given)
            if inputs:
                arguments.append([each for each in words if each not in overrides])
                check_inputs(arguments[1])
            if not quiet and "torch" not in sys.modules and first_process():  # PyTorch takes seconds to import
                print(f"superpoint {title}: starting", file=sys.stderr, flush=True)
            try:
                with _silence(quiet, as_json):
                    outcome = function(*arguments, **given) or Outcome()
            except KeyboardInterrupt:
                raise Stopped(signal.SIGINT, again) from None
            _end(outcome, as_json, again)

        own = list(inspect.signature(function, eval_str=True).parameters.values())
        again = ["--resume"] if any(each.name == "resume" for each in own) else [] if continues else None
        budgeted = any(each.name == "budget" for each in own)
        own = [each for each in own if each.name != "budget"]
        own = own[(config is not None) + (options is not None) + inputs :]
        shared = [_parameter(key, FIELDS[key], getattr(options, key)) for key in names]
        if config is not None:
            own.insert(0, _parameter("arguments", INPUTS if inputs else OVERRIDES, None))
            CONFIGS[name] = _loaded(config)
            shared.append(_parameter("config", CONFIG, None))
            if hasattr(CONFIGS[name], "stage"):
                shared.append(_parameter("print_config", PRINT_CONFIG, False))
        if budgeted:
            shared.append(_parameter("minutes", MINUTES, None))
        if as_json:
            shared.append(_parameter("as_json", JSON, False))
        shared.append(_parameter("quiet", QUIET, False))
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in [*own, *shared]]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        text, *examples = re.split(r"\n+(?=superpoint )", inspect.getdoc(function) or "")
        group, panel = (app, place) if isinstance(place, str) else (place, None)
        epilog = "\n  ".join(["\b\nExample:", *examples])
        return group.command(name, help=text, rich_help_panel=panel, epilog=epilog)(run)

    return register


def first_process() -> bool:
    """Return whether this is the only process, or the first of those that torchrun starts."""
    return os.environ.get("RANK", "0") == "0"


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _budget(minutes: float | None, overrides: Sequence[str]) -> Budget | None:
    """Return the total of --minutes. Raises: UserError if a training's own minutes are given beside it."""
    for each in overrides if minutes is not None else ():
        if each.partition("=")[0].endswith("train.minutes"):
            raise UserError(f"{each}: found beside --minutes, which is the total, expected one of the two")
    return None if minutes is None else Budget(minutes)


def _check(parameters: Sequence[inspect.Parameter], given: Mapping[str, Any]) -> None:
    """Call the functions in the annotations of parameters."""
    for each in parameters:
        for check in getattr(each.annotation, "__metadata__", ())[1:]:
            check(given[each.name])


def _end(outcome: Outcome, as_json: bool, again: Sequence[str] | None) -> None:
    if as_json:
        result = outcome.result
        if isinstance(result, Path):
            result = json.loads(read_text(result))
        typer.echo(json.dumps(result, indent=1, default=str))
    if outcome.signal is not None:
        raise Stopped(outcome.signal, again)
    if outcome.failed:
        raise typer.Exit(1)


def _load(config: Load, file: str | None, overrides: list[str], options: dict[str, Any]) -> Any:
    return load_config(config, file, overrides) if isinstance(config, type) else config(file, overrides, options)


def _loaded(config: Load) -> type:
    """Return the class of what `config` loads."""
    return config if isinstance(config, type) else inspect.signature(config, eval_str=True).return_annotation


def _is_override(text: str) -> bool:
    return OVERRIDE.fullmatch(text) is not None and not Path(text).exists()


@contextlib.contextmanager
def _silence(quiet: bool, as_json: bool) -> Iterator[None]:
    """Silence standard output, with `quiet` also standard error."""
    with contextlib.ExitStack() as stack:
        if quiet or as_json:
            null = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(null))
            if quiet:
                stack.enter_context(contextlib.redirect_stderr(null))
        yield
