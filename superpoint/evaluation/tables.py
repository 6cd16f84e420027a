"""Tables of results, printed and as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from superpoint.files import write_text


def make_table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    """Return a table without rows: columns of names, then columns of figures."""
    table = Table(title=title)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right")
    return table


def publish(path: Path, tables: Sequence[Table], lines: Sequence[str] = (), *, shown: int | None = None) -> None:
    """Print tables (the first `shown`) and then `lines`, and write all of them to the Markdown file `path`."""
    console = Console(width=max(Console().width, 150))  # narrower, names would be cut off
    for table in tables[:shown]:
        console.print(table)
    if lines:
        console.print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)
    text = "".join(f"{table.title}\n\n{markdown_table(table)}\n" for table in tables)
    write_text(path, text + "".join(f"- {line}\n" for line in lines))


def markdown_table(table: Table) -> str:
    """Return the cells of a table as GitHub Markdown, without its title."""
    rows = [[str(column.header) for column in table.columns]]
    rows.append(["---:" if column.justify == "right" else "---" for column in table.columns])
    rows += [list(map(str, row)) for row in zip(*(column.cells for column in table.columns), strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def format_cell(value: float | None, form: str = ".3f") -> str:
    """Return a figure of a table, "-" for none."""
    return "-" if value is None else format(value, form)
