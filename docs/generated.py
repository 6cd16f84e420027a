"""A Sphinx extension: it appends to the pages in docs/reference/ what the code says.

Commands come from the command line, keys from the configurations with the comments beside their fields, the Python
interface from docstrings.
"""

import ast
import dataclasses
import functools
import importlib
import inspect
import io
import re
import textwrap
import tokenize
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from sphinx.application import Sphinx

from superpoint.cli import app
from superpoint.commands.command import CONFIGS
from superpoint.config.loading import read_stage, recipe_folder, recipe_names

# What a program may rely on, beside `superpoint` itself.
MODULES = (
    "superpoint",
    "superpoint.matching",
    "superpoint.export",
    "superpoint.interop.hloc",
    "superpoint.interop.hloc_models",
    "superpoint.interop.colmap",
    "superpoint.interop.lightglue",
    "superpoint.interop.local_feature",
    "superpoint.interop.opencv",
    "superpoint.losses",
    "superpoint.config",
    "superpoint.diagnostics.case",
    "superpoint.diagnostics.diagnosis",
)


def cell(text: str) -> str:
    """Return text for one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    return f"`{cell(text)}`" if text else ""


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


# Commands


def commands() -> Iterator[tuple[str, str, Any]]:
    """Yield heading, full name and command, in the order of `superpoint --help`."""
    group: Any = typer.main.get_command(app)
    for name, each in group.commands.items():
        for child, command in (getattr(each, "commands", None) or {"": each}).items():
            yield each.rich_help_panel, f"{name} {child}".rstrip(), command


def config_of(name: str) -> type | None:
    """Return the configuration whose keys a command takes."""
    return CONFIGS.get(name.split()[-1])


def annotation_text(annotation: Any) -> str:
    """Return a type as one reads it: `int or null`, `list of float`, the choices of a Literal."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if each is type(None) else annotation_text(each) for each in arguments)
    if origin is typing.Literal:
        return ", ".join(map(str, arguments))
    if origin is dict:
        return f"mapping to {annotation_text(arguments[1])}"
    if origin is tuple:
        return f"{len(arguments)} x {annotation_text(arguments[0])}"
    if origin is not None and arguments:
        return f"{origin.__name__} of {annotation_text(arguments[0])}"
    name: str = annotation.__name__
    return {"str": "text", "bool": "true, false", "Path": "path"}.get(name, name)


def option_row(parameter: Any) -> list[str]:
    words = " ".join(parameter.opts) if parameter.param_type_name == "option" else parameter.metavar or parameter.name
    kind = annotation_text(parameter.type_descriptor.annotation)
    if parameter.param_type_name == "option" and parameter.is_flag:
        kind, default = "", ""
    elif parameter.required:
        default = "required"
    else:
        default = "" if parameter.default in (None, [], ()) else code(str(parameter.default))
    return [code(words), kind.removesuffix(" or null"), default, cell(parameter.help or "")]


def command_text(name: str, command: Any) -> str:
    """Return what `superpoint NAME --help` says, as Markdown."""
    examples = [line.strip() for line in (command.epilog or "").splitlines() if line.strip().startswith("superpoint")]
    parts = [f"### superpoint {name}", paragraphs(command.help or "")]
    if examples:
        parts.append("```\n" + "\n".join(examples) + "\n```")
    rows = [option_row(each) for each in command.params if each.name != "help" and not each.hidden]
    parts.append(table(["argument", "type", "default", "meaning"], rows))
    if (config := config_of(name)) is not None:
        parts.append(f"Keys: [{config_title(config)}](configuration.md#{anchor(config_title(config))}).")
    return "\n\n".join(parts)


def paragraphs(text: str) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text.replace("\b\n", "")).strip()


def all_commands() -> str:
    sections: dict[str, list[str]] = {}
    for heading, name, command in commands():
        sections.setdefault(heading, []).append(command_text(name, command))
    return "\n\n".join(f"## {heading}\n\n" + "\n\n".join(texts) for heading, texts in sections.items())


# Configuration


@functools.cache
def comments(cls: type) -> dict[str, str]:
    """Return the comment beside each field that `cls` itself declares, or on the lines above it."""
    source = textwrap.dedent(inspect.getsource(cls))
    found: dict[int, tuple[str, bool]] = {}  # line -> the comment, and whether it is alone there
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            found[token.start[0]] = token.string.lstrip("# ").split("  # ")[0], alone
    meanings = {}
    for node in typing.cast(ast.ClassDef, ast.parse(source).body[0]).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            beside = [found[n][0] for n in range(node.lineno, (node.end_lineno or 0) + 1) if n in found]
            line = node.lineno - 1
            while not beside and line in found and found[line][1]:
                line -= 1
            above = [found[n][0] for n in range(line + 1, node.lineno)] if not beside else []
            meanings[node.target.id] = " ".join([*beside, *above])
    return meanings


def meaning(cls: type, name: str) -> str:
    """Return what a field means: the first class up the line that says it."""
    bases = [base for base in cls.__mro__ if dataclasses.is_dataclass(base)]
    return next((text for base in bases if (text := comments(base).get(name, ""))), "")


def value_text(value: Any) -> str:
    if value is None:
        return "null"
    if value == "":
        return '""'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict | tuple):
        return str(value).replace("'", "").replace("True", "true").replace("False", "false")
    return str(value)


def keys(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, str, Any, str]]:
    """Yield key, annotation, default as text, value and meaning of all keys but those of another stage's section."""
    cls = type(config)
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not hasattr(value, "stage"):
            yield from keys(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, hints[field.name], value_text(value), value, meaning(cls, field.name)


def config_title(cls: type) -> str:
    names = [name for _, name, _ in commands() if config_of(name) is cls]
    stage = getattr(cls, "stage", "")
    if stage in names:
        names.remove(stage)
        names.insert(0, stage)
    return ", ".join(names)


def anchor(title: str) -> str:
    """Return the anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def differences(value: Any) -> list[str]:
    """Return the `key=default` in which a section differs from the defaults of its own command."""
    usual = {key: text for key, _, text, _, _ in keys(type(value)())}
    return [f"{key}={text}" for key, _, text, _, _ in keys(value) if text != usual[key]]


def config_text(cls: type) -> str:
    rows, sections = [], []
    for key, annotation, default, value, text in keys(cls()):
        if dataclasses.is_dataclass(value):
            title = config_title(type(value))
            changed = ", ".join(code(each) for each in differences(value))
            sections.append(
                f"- `{key}.…`: the keys of [{title}](#{anchor(title)})" + (f", with {changed}" if changed else "")
            )
        else:
            rows.append([code(key), annotation_text(annotation), code(default), cell(text)])
    parts = [f"## {config_title(cls)}", summary(cls), table(["key", "type", "default", "meaning"], rows)]
    return "\n\n".join([*parts, "\n".join(sections)])


def summary(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def configurations() -> list[type]:
    """Return the configurations of all commands, each once."""
    found = [config for _, name, _ in commands() if (config := config_of(name)) is not None]
    return list(dict.fromkeys(found))


def all_keys() -> str:
    return "\n\n".join(config_text(cls) for cls in configurations())


# Recipes


def recipe_table() -> str:
    rows = []
    for name in recipe_names():
        file = recipe_folder() / f"{name}.yaml"
        head = [line.lstrip("# ") for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        stage = read_stage(file)
        rows.append([code(name), code(stage), cell(head[0] if head else "")])
    return table(["recipe", "command", "purpose"], rows)


# Python


def public(name: str) -> list[str]:
    """Return the public names of a module: its `__all__`, else what it defines."""
    module = importlib.import_module(name)
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=str.lower)
    own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == name]
    return sorted((key for key in own if not key.startswith("_")), key=str.lower)


def api_text(name: str) -> str:
    """Return the directives that make autodoc describe a module."""
    module = importlib.import_module(name)
    shown = set(public("superpoint")) if name != "superpoint" else set()
    parts = [f"## {name}"]
    if name != "superpoint":
        parts.append(f"```{{eval-rst}}\n.. automodule:: {name}\n   :no-index:\n```")
    constants = []
    for each in public(name):
        value = getattr(module, each)
        if each in shown:
            continue
        if inspect.isclass(value):
            options = "" if issubclass(value, Exception) else "\n   :members:"
            parts.append(f"```{{eval-rst}}\n.. autoclass:: {name}.{each}{options}\n```")
        elif callable(value):
            parts.append(f"```{{eval-rst}}\n.. autofunction:: {name}.{each}\n```")
        else:
            constants.append([code(each), code(value_text(value))])
    if constants:
        parts.append(table(["constant", "value"], constants))
    return "\n\n".join(parts)


def all_api() -> str:
    return "\n\n".join(map(api_text, MODULES))


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands": all_commands,
    "reference/configuration": all_keys,
    "reference/recipes": recipe_table,
    "reference/python": all_api,
}


def complete(app: Sphinx, name: str, source: list[str]) -> None:
    """Append what is generated to the text of a page; turn links out of docs/ into links to its pages."""
    if name in PAGES:
        source[0] += "\n" + PAGES[name]() + "\n"
    up = "../" * name.count("/")
    for target, page in app.config.link_pages.items():
        source[0] = source[0].replace(f"]({up}{target}", f"]({up}{page}")


SECTION = re.compile(r"(Returns|Raises|Source): (?=\S)")


def one_line_sections(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make "Returns: text" on one line, which napoleon takes for a part of the paragraph before, a paragraph."""
    found: list[str] = []
    inside = False
    for line in lines:
        if SECTION.match(line):
            found += ["", SECTION.sub(r"**\1:** ", line)]
        else:
            inside = inside and line.startswith("    ")
            found.append(line.strip() if inside else line)
        inside = inside or bool(SECTION.match(line))
    lines[:] = found


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("link_pages", {}, "env")
    app.connect("source-read", complete)
    app.connect("autodoc-process-docstring", one_line_sections, priority=100)  # before napoleon
    return {"parallel_read_safe": True, "version": Path(__file__).stat().st_mtime_ns.__str__()}
