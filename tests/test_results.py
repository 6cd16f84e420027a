"""Figures on the pages are those of the stored results, and each result has its command, machine and date."""

import datetime
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.test_docs import load

RESULT = {
    "command": ["superpoint evaluate pairs"],
    "machine": "one core",
    "date": "2026-11-28 to 2026-11-29",
    "columns": ["extractor", "MMA @3", "error in px"],
    "highest": ["MMA @3"],
    "lowest": ["error in px"],
    "rows": [["SIFT", ".492", "0.36"], ["ORB", ".554", "1,040"], ["random", "", ""]],
}


@pytest.fixture(scope="module")
def tables(project: Path) -> ModuleType:
    """The command that writes the tables."""
    return load(project / "benchmarks/tables.py")


@pytest.fixture
def stored(tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the one result above, in place of the project's."""
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    (tmp_path / "pairs.json").write_text(json.dumps(RESULT))
    return tmp_path


def test_pages_have_the_stored_figures(project: Path) -> None:
    found = subprocess.run(
        [sys.executable, project / "benchmarks/tables.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_every_result_stands_in_one_place(tables: ModuleType) -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in tables.pages())
    shown = [found[1] for found in tables.TABLE.finditer(text)]
    assert len(shown) > 40
    assert sorted(shown) == sorted(path.stem for path in tables.RESULTS.glob("*.json"))
    assert text.count("<!-- results: ") == len(shown), "a marker without its end"


def test_every_result_has_command_machine_and_date(tables: ModuleType) -> None:
    for path in tables.RESULTS.glob("*.json"):
        result = tables.load(path.stem)
        assert result["machine"], path.name
        assert isinstance(result["command"], list), path.name
        days = [datetime.date.fromisoformat(day) for day in result["date"].split(" to ")]
        assert days == sorted(days), path.name
        assert {*result.get("highest", []), *result.get("lowest", [])} <= set(result["columns"]), path.name


def test_readme_and_measured_pages_have_no_figure_beside_the_results(project: Path, tables: ModuleType) -> None:
    """Three decimals, or a time, a size or a share, are measured. Settings have other forms."""
    measured = r"(?<![\w.,])\d*\.\d{3}\b|\b\d[\d.,]*(?: (?:ms|s|MB|images/s)| ?times as fast)\b|\b\d+\.\d+ %"
    for page in (project / "README.md", project / "docs/benchmarks.md", project / "docs/evaluation.md"):
        text = tables.FIGURE.sub("", tables.TABLE.sub("", page.read_text(encoding="utf-8")))
        typed = re.findall(measured, re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
        # One of thirty pairs; what none and one of 200 say.
        assert not set(typed) - {".033", "1.5 %", "2.8 %"}, page.name


def test_the_readme_has_figures(project: Path, tables: ModuleType) -> None:
    text = (project / "README.md").read_text(encoding="utf-8")
    assert len(tables.FIGURE.findall(text)) >= 4
    assert not re.search(r"^<!-- [\w-]+: .* -->\S", text, re.MULTILINE), "a line begins with a marker"


def test_a_changed_digit_is_put_right(tables: ModuleType, stored: Path) -> None:
    page = "# A\n\n<!-- results: pairs -->\n<!-- end -->\n\nIt is <!-- pairs: SIFT, MMA @3 -->.500, no more.\n"
    text = tables.filled(page)
    assert "| SIFT | .492 | **0.36** |\n| ORB | **.554** | 1,040 |" in text
    assert "```\nsuperpoint evaluate pairs\n```" in text
    assert "*28 November 2026 to 29 November 2026; one core.*" in text
    assert "-->.492, no more." in text
    assert tables.filled(text) == text
    for wrong in (text.replace("| ORB | **.554**", "| ORB | **.555**"), text.replace("-->.492", "-->.493")):
        assert wrong != text
        assert tables.filled(wrong) == text


def test_what_is_not_stored_is_an_error(tables: ModuleType, stored: Path) -> None:
    for place in ("pairs: SURF, MMA @3", "pairs: SIFT, MMA @5", "pairs: random, MMA @3"):
        with pytest.raises(ValueError, match="expected one number"):
            tables.filled(f"It is <!-- {place} -->.5.")
    with pytest.raises(FileNotFoundError):
        tables.filled("<!-- results: other -->\n<!-- end -->")
    (stored / "pairs.json").write_text(json.dumps(RESULT | {"rows": [["SIFT", ".5"]]}))
    with pytest.raises(ValueError, match="expected 3 cells"):
        tables.load("pairs")


def test_a_printed_table_is_stored(tables: ModuleType, stored: Path) -> None:
    lines = ["## Mean\n", "| name | MMA @3 |\n", "|---|---:|\n", "| SIFT | **.492** |\n", "| none | |\n", "\n"]
    tables.store("new", "superpoint evaluate pairs", "", lines)
    result = tables.load("new")
    assert (result["columns"], result["rows"]) == (["name", "MMA @3"], [["SIFT", ".492"], ["none", ""]])
    assert result["date"] == datetime.date.today().isoformat()
    assert "cores" in result["machine"]
