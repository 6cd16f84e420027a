"""What README and the pages in docs/ point to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from superpoint.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    named = re.findall(
        r"\b((?:superpoint|configs|scripts|benchmarks|docs|tests|datasets)/[\w/.-]+\.(?:py|yaml|md))\b", text
    )
    missing = [name for name in [*links, *named] if not (page.parent / name).exists() and not (ROOT / name).exists()]
    assert not missing
    assert not re.findall(r"^[A-Z_]{6,}$", text, re.MULTILINE)  # places left to fill in


def test_commands_in_readme_exist() -> None:
    groups = [group.typer_instance for group in app.registered_groups]
    known: set[str | None] = set()
    for group in groups:
        assert group is not None
        known |= {command.name for command in group.registered_commands}
        known |= {sub.name for sub in group.registered_groups}
    used = set(re.findall(r"^superpoint ([a-z][a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert len(used) > 8
    assert used <= known
