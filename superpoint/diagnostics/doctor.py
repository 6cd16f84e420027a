"""Stage doctor: checks of a run's data, labels, network, output and history."""

import contextlib
import importlib.metadata
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.diagnosis import diagnose, verdict
from superpoint.diagnostics.finding import Finding, Status
from superpoint.diagnostics.rates.finder import range_test_figure
from superpoint.diagnostics.reading import RunReading, read_run
from superpoint.engine import RunFolder, make_fabric
from superpoint.engine.lr_finder import RangeTest, lr_range_test
from superpoint.errors import UserError
from superpoint.files import make_folder, write_json
from superpoint.visualize import save_figure

FINDINGS = "findings.json"
COLOURS = {Status.PASS: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}
RANGE_STEPS, RANGE_BATCH = 60, 4


def doctor(
    run: str | Path,
    *,
    others: Mapping[str, Callable[[str | Path], RunReading]] | None = None,
    range_test: bool = True,
    out: str | Path | None = None,
    quiet: bool = False,
) -> list[Finding]:
    """Run all checks on a run folder, print them, and write findings.json (and lr_finder.png).

    Args:
        run: see `read_run`.
        others: by stage, how runs of other stages are read.
        range_test: train a fresh network for 60 steps of rising learning rate, as evidence.
        out: folder for what is written; default <run>/doctor.

    Raises: UserError: the run cannot be read, or the folder cannot be written.
    """
    source = RunFolder.existing(run)
    run = source.path
    reading = (others or {}).get(source.stage, read_run)(run)
    try:
        folder = make_folder(run / "doctor" if out is None else out)
    except UserError as error:
        raise UserError(f"{error}; say with --out where the findings should go") from error
    console = Console(quiet=quiet, soft_wrap=True)
    if reading.history.note:
        Console(stderr=True, quiet=quiet, soft_wrap=True).print(f"warning: {reading.history.note}")
    weights = str(reading.weights.relative_to(run))
    console.print(f"{run}: step {reading.step}, weights {weights}")
    case = reading.case
    if range_test:
        curve = _range_test(case)
        save_figure(folder / "lr_finder.png", range_test_figure(curve, case.config.optimizer.lr))
        case = replace(case, rate_curve=(curve.rates.tolist(), curve.losses.tolist()))
    findings = diagnose(case, reading.checks)

    content = {
        "run": str(run),
        "step": reading.step,
        "weights": weights,
        "versions": {"superpoint": importlib.metadata.version("superpoint"), "torch": torch.__version__},
        "summary": verdict(findings),
        "findings": [finding.as_dict() for finding in findings],
    }
    write_json(folder / FINDINGS, content)
    _print(console, findings)
    console.print(f"{verdict(findings)}; written to {folder}")
    return findings


def _range_test(case: Case) -> RangeTest:
    with contextlib.redirect_stdout(io.StringIO()):  # the line about the device, which would spoil --json
        # The run may have been made on another machine.
        fabric = make_fabric(replace(case.config.train, device="auto"))
    return lr_range_test(
        fabric=fabric,
        model=case.fresh(pretrained=True),
        objective=case.objective,
        dataset=case.range_data(),
        optimizer=case.config.optimizer,
        batch_size=min(case.config.train.batch_size, RANGE_BATCH),
        steps=RANGE_STEPS,
        high=10.0,
        smoothing=0.7,  # a tenth of a ramp of 60 steps; more would move the curve to the right
    )


def _print(console: Console, findings: Sequence[Finding]) -> None:
    """Print a table on a terminal, elsewhere uncut plain lines."""
    table = Table("#", "check", "status", "evidence", box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].justify = "right"
    for column in table.columns[:3]:
        column.no_wrap = True
    width = max([17, *(len(finding.check) for finding in findings)])
    for number, finding in enumerate(findings, 1):
        evidence = Text(finding.evidence)
        lines = [f"{number:2} {finding.check:{width}} {finding.status.value:4} {finding.evidence}"]
        for name, advice in (("cause", finding.cause), ("remedy", finding.remedy)):
            if advice:
                evidence.append(f"\n{name}: ", style="bold").append(advice, style="not bold")
                lines.append(f"{'':{width + 3}} {name}: {advice}")
        table.add_row(str(number), finding.check, Text(finding.status.value, COLOURS[finding.status]), evidence)
        if not console.is_terminal:
            console.print("\n".join(lines), markup=False, highlight=False)
    if console.is_terminal:
        console.print(table, soft_wrap=False)
