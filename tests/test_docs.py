"""The documentation: its reference is complete; built, its links lead somewhere, and it needs no network."""

import dataclasses
import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

import superpoint
from superpoint.config.loading import recipe_names

if TYPE_CHECKING:
    from playwright.sync_api import Browser

STAGES = (
    "train-magicpoint",
    "train-superpoint",
    "export-detections",
    "finetune",
    "adapt",
    "pipeline",
    "evaluate pairs",
)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated(project: Path) -> ModuleType:
    """The extension that writes the reference."""
    return load(project / "docs/generated.py")


def test_every_command_with_every_option_is_in_the_reference(generated: ModuleType) -> None:
    sections = dict(re.findall(r"^### superpoint (.*?)\n(.*?)(?=^##|\Z)", generated.all_commands(), re.M | re.S))
    commands = {name: command for _, name, command in generated.commands()}
    assert len(commands) > 25
    assert sections.keys() == commands.keys()
    for name, command in commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert f"`{' '.join(parameter.opts)}`" in sections[name], (name, parameter.name)
        assert f"superpoint {name} " in sections[name].partition("| argument")[0], f"{name}: no example"


def test_every_key_has_a_type_a_default_and_a_meaning(generated: ModuleType) -> None:
    text = generated.all_keys()
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \| (.*?) \|$", text, re.M)
    assert len(rows) > 300
    assert not [row for row in rows if not all(row)]
    shown = {row[0] for row in rows}
    classes = generated.configurations()
    assert set(STAGES) <= {getattr(cls, "stage", "") for cls in classes}
    for cls in classes:
        for key, *_, value, _ in generated.keys(cls()):
            assert f"`{key}.…`" in text if dataclasses.is_dataclass(value) else key in shown, (cls, key)
    assert ("train.minutes", "float or null", "`60.0`") in {row[:3] for row in rows}


def test_every_recipe_has_its_purpose(generated: ModuleType) -> None:
    text = generated.recipe_table()
    for name in recipe_names():
        assert re.search(rf"^\| `{name}` \| `[a-z -]+` \| \S", text, re.M), name


def test_every_public_name_is_in_the_reference(generated: ModuleType) -> None:
    text = generated.all_api()
    for name in superpoint.__all__:
        documented = re.search(rf"^\.\. auto(class|function):: superpoint\.{name}$", text, re.M)
        assert documented or f"| `{name}` |" in text, name
    for module in generated.MODULES:
        assert f"\n.. automodule:: {module}\n" in text or module == "superpoint"


class Links(HTMLParser):
    """What a page leads to, what it loads, and the anchors it has."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.leads: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.anchors.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.leads.append(given["href"])
        self.loads += [given[key] for key in ("src", "href") if key in given and tag in ("img", "script", "link")]


@pytest.fixture(scope="module")
def site(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built as strictly as by `make docs`."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-W", "--keep-going", "-n", "-d", str(out / "trees")]
    built = subprocess.run(
        [*command, str(project / "docs"), str(out / "html")], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return out / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {page: Links(page) for page in site.rglob("*.html")}


@pytest.mark.slow
def test_links_lead_somewhere(pages: dict[Path, Links]) -> None:
    assert len(pages) > 25
    missing = []
    for page, links in pages.items():
        for link in links.leads:
            name, _, anchor = unquote(link).partition("#")
            if re.match(r"\w+:", link) or page.name in ("search.html", "genindex.html"):
                continue
            target = (page.parent / name).resolve() if name else page
            anchors = pages[target].anchors if target in pages else set()
            if not target.exists() or (anchor and anchor not in anchors):
                missing.append((page.name, link))
    assert not missing


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site: Path, pages: dict[Path, Links]) -> None:
    for page, links in pages.items():
        for link in links.loads:
            assert not re.match(r"(\w+:)?//", link), (page, link)
            assert (page.parent / unquote(link.partition("?")[0])).exists() or "#" in link, (page, link)
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(['\"]?|@import ['\"])(https?:)?//", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_the_built_reference_has_commands_keys_and_names(site: Path) -> None:
    commands = Links(site / "reference/commands.html").anchors
    assert {"superpoint-detect", "superpoint-evaluate-pairs", "superpoint-labels-import"} <= commands
    assert "data.photometric.gamma" in (site / "reference/configuration.html").read_text(encoding="utf-8")
    names = Links(site / "reference/python.html").anchors
    functions = {name for name in superpoint.__all__ if callable(getattr(superpoint, name))}
    assert {f"superpoint.{name}" for name in functions} <= names
    assert "superpoint.FeatureDetector.detect" in names


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_fits_and_is_found_by_search_without_network(browser: "Browser", site: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, offline=True)
    for name in ("index", "getting-started", "troubleshooting", "evaluation", "reference/configuration"):
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    page.goto((site / "search.html").as_uri() + "?q=dustbin")
    page.wait_for_selector("#search-results li a")
    found = page.locator("#search-results li a").all_inner_texts()
    page.close()
    assert any("Cells and the dustbin" in title for title in found)


@pytest.mark.slow
def test_getting_started_runs(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From photographs to a 3D model, as the page says."""
    pytest.importorskip("pycolmap")
    example = load(project / "docs/example.py")
    monkeypatch.chdir(tmp_path)
    example.run(project / "docs/getting-started.md")
    assert len(list((tmp_path / "photos").iterdir())) == 12
    assert len(list((tmp_path / "pictures").rglob("*.png"))) >= 12
    assert '"verdict": "match"' in (tmp_path / "matches.json").read_text()
    assert re.search(r'"registered": 1[0-2]\b', (tmp_path / "model/statistics.json").read_text())
