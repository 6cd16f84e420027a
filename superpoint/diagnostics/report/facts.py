"""Figures and tables of the report, from what the run folders say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table as RichTable

from superpoint.config import MagicPointConfig, dump_config
from superpoint.diagnostics.report.record import RunRecord, is_number, number, parse_config

ABSENT = "-"


@dataclass(frozen=True)
class Table:
    """Rows that begin with a name."""

    headers: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""


def figure(value: Any, digits: int = 3) -> str:
    """Return a number as text, a dash if it is none or not finite."""
    return f"{number(value):.{digits}f}" if math.isfinite(number(value)) else ABSENT


def key_figures(record: RunRecord) -> list[tuple[str, str, str]]:
    """Return (name, value, unit or aside) of the figures in the heading."""
    figures = [("diagnosis", str(record.findings.get("summary")).partition(":")[0], "")] if record.findings else []
    figures.append(("training loss", figure(record.last("train").get("loss")), "nats"))
    validation = record.last("validate")
    if "loss" in validation:
        figures.append(("validation loss", figure(validation["loss"]), "nats"))
    if record.best:
        name, value, step = record.best
        figures.append((f"best {name}", f"{value:.3f}", f"at step {step:,}"))
    loosest = max((float(eps) for _, _, eps in record.ap_keys), default=0.0)
    for key, variant, eps in record.ap_keys:
        if float(eps) == loosest:
            figures.append((f"AP@{eps} {variant}", figure(validation.get(key)), ""))
            error = validation.get(f"{variant}/localisation@{eps}")
            figures += [(f"error@{eps} {variant}", figure(error, 2), "px")] if is_number(error) else []
    rates = sorted(rate for rate in record.curve("train", "img_per_s")[1] if math.isfinite(rate))
    if rates:
        figures.append(("throughput", f"{rates[len(rates) // 2]:.0f}", "images/s"))
    return figures


def rich_table(shown: RichTable) -> Table:
    rows = list(zip(*(column.cells for column in shown.columns), strict=True))
    return Table([str(column.header) for column in shown.columns], rows, str(shown.title))


def default_config(kind: type = MagicPointConfig) -> dict[str, str]:
    """Return the default configuration of a stage in the form of `RunRecord.config`."""
    return parse_config(dump_config(kind()))
