"""README and the pages in docs/ are true: links, files, code, commands with their settings, names of functions."""

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml

import superpoint
from superpoint.cli import app
from superpoint.data.images import resize_with_points, sample_photographs
from superpoint.visualize import save_image
from tests.conftest import CommandLine

ROOT = Path(__file__).parents[1]
CARD = ROOT / "superpoint/pretrained/README.md"
DOCS = ROOT / "docs"
SITE = [page for page in DOCS.rglob("*.md") if "_build" not in page.parts]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *SITE, *ROOT.glob("datasets/**/*.md"), CARD])
GUIDE, INTEROP = DOCS / "guides/detect-and-match.md", DOCS / "guides/interop.md"
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page: Path, language: str = "") -> list[str]:
    fenced = re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [content for found, content in fenced if found == language]


@each_page
def test_links_and_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    named = re.findall(
        r"(?<![\w/])((?:superpoint|configs|scripts|benchmarks|docs|tests|datasets)/[\w/.-]+\.(?:py|yaml|md))\b", text
    )
    missing = [name for name in [*links, *named] if not (page.parent / name).exists() and not (ROOT / name).exists()]
    assert not missing


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that `words` name, and what is left of them. Raises: AssertionError if there is none."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, "a group without a command"
        assert words[0] in command.commands, f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def commands(page: Path) -> list[list[str]]:
    """The words of each command line in the blocks of a page, also of those started by torchrun."""
    lines = [line for block in blocks(page) for line in block.replace("\\\n", " ").splitlines()]
    found = []
    for line in lines:
        started = re.sub(
            r"^(?:srun )?torchrun .*?scripts/(\w+)\.py", lambda m: "superpoint " + m[1].replace("_", "-"), line
        )
        if re.match(r"superpoint [a-z]", started):
            found.append(shlex.split(started, comments=True)[1:])
    return found


@each_page
def test_commands_are_accepted(page: Path, cli: CommandLine) -> None:
    """Commands with a recipe resolve their settings; of the others the arguments are read."""
    for words in commands(page):
        command, arguments = command_of(words)
        options = {name for parameter in command.params for name in parameter.opts}
        if "--print-config" in options:
            cli.succeeds(*words, "--print-config")
        else:
            command.make_context(words[0], arguments)


@each_page
def test_commands_in_the_text_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for inline in re.findall(r"`superpoint ((?!--)[a-z][^`]*)`", text):
        command, arguments = command_of(inline.replace("\n", " ").split())
        options = {name for parameter in command.params for name in parameter.opts}
        assert {each.partition("=")[0] for each in arguments if each.startswith("--")} <= options | {"--help"}, inline


def test_every_command_is_explained() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    group: Any = typer.main.get_command(app)
    names = [
        f"{name} {child}".rstrip()
        for name, command in group.commands.items()
        for child in getattr(command, "commands", [""])
    ]
    assert len(names) > 25
    assert not [name for name in names if not re.search(rf"superpoint {name}\b", text)]


@pytest.mark.parametrize("page", [ROOT / "README.md", GUIDE, INTEROP], ids=lambda page: page.name)
def test_python_code_runs_as_written(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder with the photographs it names; exported networks and plugs have tests of their own."""
    others = "open_exported", "readNetFromONNX", "hloc_models"
    code = "\n".join(each for each in blocks(page, "python") if not any(name in each for name in others))
    image, _ = resize_with_points(dict(sample_photographs())["coffee"], np.zeros((0, 2), np.float32), (200, 300))
    for names, part in ((("first", "one"), image[:184, :280]), (("second", "two"), image[16:, 16:])):
        for name in names:
            save_image(tmp_path / f"{name}.png", np.ascontiguousarray(part)).rename(tmp_path / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {"__name__": "readme"})
    if page != INTEROP:
        assert re.search(r"[1-9]\d* matches, [1-9]\d* agree with a homography", capsys.readouterr().out)
    if page != GUIDE:
        assert (tmp_path / "database.db").stat().st_size > 0


@each_page
def test_python_code_imports_what_exists(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")
        exec("\n".join(re.findall(r"^(?:from superpoint|import).*$", block, re.MULTILINE)), {})


def resolve(name: str) -> object:
    """What a dotted name below `superpoint` means. Raises: AttributeError or ImportError if there is nothing."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(["superpoint", *parts[:count]]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


def test_functions_of_the_architecture_exist() -> None:
    text = (DOCS / "architecture.md").read_text()
    names = re.findall(r"`([a-z_]+(?:\.\w+)+)`", text.partition("## One image")[2].partition("## Where")[0])
    assert len(names) > 20
    for name in names:
        resolve(name)


def test_the_architecture_draws_every_room() -> None:
    drawn = set(re.findall(r"\b[a-z]+\b", blocks(DOCS / "architecture.md")[0]))
    rooms = {path.name.removesuffix(".py") for path in (ROOT / "superpoint").iterdir() if path.suffix in ("", ".py")}
    assert {room for room in rooms if not room.startswith("_")} <= drawn | {"configs"}


def test_what_to_open_exists() -> None:
    table = (
        (ROOT / "CONTRIBUTING.md").read_text().partition("| to change | open |\n|---|---|\n")[2].partition("\n\n")[0]
    )
    rows = table.splitlines()
    assert 10 <= len(rows) <= 15
    for row in rows:
        names = re.findall(r"`([\w/.]+)`", row.split("|")[2])
        paths = [ROOT / name for name in names if "/" in name or name == "pyproject.toml"]
        assert paths, row
        assert all(path.exists() for path in paths), row


@each_page
def test_names_stand_in_the_files_that_are_said_to_have_them(page: Path) -> None:
    for name, file in re.findall(r"`([A-Za-z_.]+)` of `(superpoint/[\w/]+\.py)`", page.read_text(encoding="utf-8")):
        assert name.split(".")[0] in (ROOT / file).read_text(), name


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (superpoint.__version__, "MIT")
    assert [author["family-names"] for author in citation["references"][0]["authors"]] == [
        "DeTone", "Malisiewicz", "Rabinovich",
    ]  # fmt: skip
