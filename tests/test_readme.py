"""What README and the pages in docs/ point to exists."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from superpoint import pretrained
from superpoint.cli import app
from superpoint.data.images import resize_with_points, sample_photographs
from superpoint.inference import DEFAULT_MODEL
from superpoint.visualize import save_image
from tests.inference.networks import write_network

ROOT = Path(__file__).parents[1]
CARD = ROOT / "superpoint/pretrained/README.md"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), CARD])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    named = re.findall(
        r"\b((?:superpoint|configs|scripts|benchmarks|docs|tests|datasets)/[\w/.-]+\.(?:py|yaml|md))\b", text
    )
    missing = [name for name in [*links, *named] if not (page.parent / name).exists() and not (ROOT / name).exists()]
    assert not missing
    assert not re.findall(r"^[A-Z_]{6,}$|@[A-Z]+@", text, re.MULTILINE)  # places left to fill in


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


def use_it(page: Path) -> list[str]:
    """The Python code of docs/api.md, or of the README's section "Use it"."""
    text = page.read_text(encoding="utf-8")
    if page.name == "README.md":
        text = text.partition("\n## Use it\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "api.md"], ids=lambda page: page.name)
def test_python_code_runs_as_written(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder with the photographs it names, and the pretrained weights."""
    blocks = use_it(page)
    assert blocks
    rgb = dict(sample_photographs())["coffee"]
    image, _ = resize_with_points(rgb, np.zeros((0, 2), np.float32), (200, 300))
    for name, part in (("first", image[:184, :280]), ("second", image[16:, 16:])):
        save_image(tmp_path / f"{name}.png", np.ascontiguousarray(part))
        (tmp_path / f"{name}.png").rename(tmp_path / f"{name}.jpg")
    if DEFAULT_MODEL not in pretrained.pretrained_names():  # until it is pretrained: one with random descriptors
        registry = tmp_path / "pretrained"
        shutil.copytree(pretrained.PRETRAINED, registry)
        write_network(registry / f"{DEFAULT_MODEL}.safetensors")
        monkeypatch.setattr(pretrained, "PRETRAINED", registry)
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks), str(page), "exec"), {"__name__": "readme"})
    assert re.search(r"[1-9]\d* matches, [1-9]\d* agree with a homography", capsys.readouterr().out)
