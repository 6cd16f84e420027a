"""The tables of README, docs/ and the model card, from the stored results in benchmarks/results/.

    python benchmarks/tables.py            # write all tables and figures anew
    python benchmarks/tables.py --check    # write nothing; exit code 1 if a page differs from the results
    python benchmarks/tables.py --store NAME --command "superpoint evaluate pairs --data pairs" < pairs.md

A page names a result where its table stands, or before a single figure (not at the beginning of a line):

    <!-- results: NAME -->
    <!-- end -->
    SIFT finds <!-- NAME: SIFT, MAGSAC @3 -->.700 of them.

--store reads a Markdown table and writes benchmarks/results/NAME.json with this machine and today's date.
"""

import argparse
import datetime
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
TABLE = re.compile(r"^<!-- results: ([\w-]+) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?|\.\d+"
FIGURE = re.compile(rf"(?<=\S )<!-- ([\w-]+): ([^>\n]+), ([^,>\n]+) -->({NUMBER})")

Result = dict[str, Any]  # command: lines; machine; date; columns; rows: cells as printed; perhaps highest, lowest, note


def pages() -> list[Path]:
    """Return the pages that may show results."""
    docs = (page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)
    return [ROOT / "README.md", *sorted(docs), ROOT / "superpoint/pretrained/README.md"]


def load(name: str) -> Result:
    """Return a stored result. Raises: FileNotFoundError, ValueError if a row has too few or too many cells."""
    result = cast(Result, json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))
    if any(len(row) != len(result["columns"]) for row in result["rows"]):
        raise ValueError(f"{name}.json: found a row of other length, expected {len(result['columns'])} cells")
    return result


def value(cell: str) -> float | None:
    """Return the first number of a cell."""
    found = re.search(NUMBER, cell)
    return float(found[0].replace(",", "")) if found else None


def best(result: Result, column: int) -> float | None:
    """Return the value that is printed in bold in a column."""
    values = [number for row in result["rows"] if (number := value(row[column])) is not None]
    for choose, key in ((max, "highest"), (min, "lowest")):
        if result["columns"][column] in result.get(key, []):
            return choose(values)
    return None


def table(result: Result) -> str:
    """Return the Markdown table of a result, the best value of each column in bold where the result asks for it."""
    bold = [best(result, column) for column in range(len(result["columns"]))]
    rows = [
        [f"**{cell}**" if top is not None and value(cell) == top else cell for cell, top in zip(row, bold, strict=True)]
        for row in result["rows"]
    ]
    return "\n".join(
        "| " + " | ".join(line) + " |" for line in (result["columns"], ["---"] * len(result["columns"]), *rows)
    )


def date_text(date: str) -> str:
    """Return 2026-11-29 as 29 November 2026; two days with " to " between them likewise."""
    days = (datetime.date.fromisoformat(day) for day in date.split(" to "))
    return " to ".join(f"{day.day} {day:%B %Y}" for day in days)


def section(name: str) -> str:
    """Return all that stands between the markers of a result: command, table, machine and date."""
    result = load(name)
    command = "```\n" + "\n".join(result["command"]) + "\n```\n\n" if result["command"] else ""
    note = f" {result['note']}" if "note" in result else ""
    return f"{command}{table(result)}\n\n*{date_text(result['date'])}; {result['machine']}.{note}*\n"


def figure(name: str, row: str, column: str) -> str:
    """Return one number of a result. Raises: ValueError if there is no such cell, or no number in it."""
    result = load(name)
    cells = [
        cells[result["columns"].index(column)]
        for cells in result["rows"]
        if cells[0] == row and column in result["columns"]
    ]
    if len(cells) != 1 or not re.fullmatch(NUMBER, cells[0]):
        raise ValueError(f"{name}.json, row {row!r}, column {column!r}: found {cells}, expected one number")
    return str(cells[0])


def filled(text: str) -> str:
    """Return the text of a page with its tables and figures as the results have them."""
    text = TABLE.sub(lambda found: f"<!-- results: {found[1]} -->\n{section(found[1])}\n<!-- end -->", text)
    return FIGURE.sub(
        lambda found: f"<!-- {found[1]}: {found[2]}, {found[3]} -->{figure(found[1], found[2], found[3])}", text
    )


def store(name: str, command: str, machine: str, lines: Sequence[str]) -> Path:
    """Write the Markdown table in `lines` to a result of today, of this machine if none is named; return its file."""
    from superpoint.engine.environment import describe_environment

    found = [
        [cell.replace("**", "").strip() for cell in line.strip().strip("|").split("|")]
        for line in lines
        if line.lstrip().startswith("|")
    ]
    here = describe_environment()
    result = {
        "command": command.splitlines(),
        "machine": machine or f"{here['cpu']}, {here['cores']} cores",
        "date": datetime.date.today().isoformat(),
        "columns": found[0],
        "rows": found[2:],
    }
    path = RESULTS / f"{name}.json"
    path.write_text(as_json(result), encoding="utf-8")
    load(name)
    return path


def as_json(result: Result) -> str:
    """Return a result as JSON with a line for each key, and a line for each row."""
    rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in result["rows"])
    lines = [f" {json.dumps(key)}: {json.dumps(result[key], ensure_ascii=False)}" for key in result if key != "rows"]
    return "{\n" + ",\n".join([*lines, f' "rows": [\n  {rows}\n ]']) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--store", metavar="NAME")
    parser.add_argument("--command")
    parser.add_argument("--machine", default="", help="where it was measured, if not here")
    arguments = parser.parse_args()
    if arguments.store:
        if not arguments.command:
            parser.error("--store needs --command")
        print(f"wrote {store(arguments.store, arguments.command, arguments.machine, sys.stdin.readlines())}")
        return
    differing = [page for page in pages() if filled(text := page.read_text(encoding="utf-8")) != text]
    for page in differing:
        if not arguments.check:
            page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"{'differs from the results' if arguments.check else 'wrote'}: {page.relative_to(ROOT)}")
    if arguments.check and differing:
        sys.exit(1)


if __name__ == "__main__":
    main()
