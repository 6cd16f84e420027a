"""The page, made by templates that escape all they show; pictures are inside."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader

from superpoint.diagnostics.report.curves import Panel
from superpoint.diagnostics.report.facts import Table, key_figures
from superpoint.diagnostics.report.pictures import Picture
from superpoint.diagnostics.report.record import RunRecord, date
from superpoint.engine.display import format_seconds
from superpoint.visualize import colormap


@dataclass(frozen=True)
class Section:
    """A part of the page; `name` is its anchor."""

    name: str
    title: str
    content: Any
    template: str = "content.html"


@dataclass(frozen=True)
class Content:
    """What content.html shows, in this order.

    Attributes:
        panels: plots, by the heading above them; "" is none.
        sheet: small pictures side by side.
        notes: why something is not here.
    """

    text: str = ""
    panels: Mapping[str, Sequence[Panel]] = field(default_factory=dict)
    figures: Sequence[Picture] = ()
    sheet: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()


def render_page(record: RunRecord, sections: Sequence[Section]) -> str:
    """Return the page of a run, about a megabyte."""
    return render("page.html", record=record, sections=sections)


def render(template: str, **values: Any) -> str:
    """Return HTML that loads nothing and runs nothing."""
    loader = FileSystemLoader(Path(__file__).with_name("templates"))
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"date": date, "duration": format_seconds, "quote": lambda word: shlex.quote(str(word))}
    environment.globals |= {"gradient": gradient, "key_figures": key_figures}
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return environment.get_template(template).render(now=now, **values)


def gradient(name: str, power: float = 1.0) -> str:
    """Return a colour map of matplotlib as CSS, applied to values ** `power`."""
    colors = colormap(np.linspace(0, 1, 17) ** power, name).tolist()
    return f"linear-gradient(to right, {', '.join(f'rgb({r},{g},{b})' for r, g, b in colors)})"
