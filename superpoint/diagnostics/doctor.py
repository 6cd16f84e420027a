"""Stage doctor: what is wrong with a run, by checks of its data, labels, network, output and history.

    superpoint doctor runs/quick
    superpoint doctor runs/quick --json | jq '.findings[] | select(.status != "PASS")'

Writes findings.json and lr_finder.png to <run>/doctor.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superpoint.classification.case import ClassifierCase, read_classifier_run
from superpoint.classification.checks import CLASSIFIER_CHECKS
from superpoint.classification.config import ClassifierConfig
from superpoint.config import MagicPointConfig
from superpoint.data.training_set import training_samples
from superpoint.diagnostics.diagnosis import diagnose, verdict
from superpoint.diagnostics.finding import Finding, Status
from superpoint.diagnostics.rates.finder import range_test_figure
from superpoint.diagnostics.reading import RunReading, read_run
from superpoint.engine import RunFolder, make_fabric
from superpoint.engine.lr_finder import RangeTest, lr_range_test
from superpoint.errors import UserError
from superpoint.files import make_folder, write_atomically
from superpoint.models import build_model
from superpoint.training.objectives import detector_objective
from superpoint.visualize import save_figure

FINDINGS = "findings.json"
COLOURS = {Status.PASS: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}
RANGE_STEPS, RANGE_BATCH = 60, 4
CLASSIFIER_BATCH = 16  # images of the range test of a classifier
RANGE_HEIGHT, RANGE_WIDTH = 120, 160  # larger images are drawn no larger: the rate hardly depends on their size


def doctor(
    run: str | Path,
    *,
    range_test: bool = True,
    out: str | Path | None = None,
    quiet: bool = False,
    as_json: bool = False,
) -> list[Finding]:
    """Run all checks on a run folder, print them, and write findings.json (and lr_finder.png).

    Args:
        run: the run folder; `read_run` says what it needs.
        range_test: train a fresh network for 60 steps of rising learning rate (3 s for the lite network on one core of
            a CPU with bf16, 15 s for VGG), as evidence for the check of the learning rate.
        out: folder for what is written; default <run>/doctor.
        quiet: print nothing.
        as_json: print what findings.json holds, and nothing else.

    Returns:
        the findings, in the order of the checks.

    Raises:
        UserError: the run cannot be read, or the folder cannot be written.
    """
    source = RunFolder.existing(run)
    run, classifier = source.path, source.stage == ClassifierConfig.stage
    reading = read_classifier_run(run) if classifier else read_run(run)
    folder = _output_folder(Path(run) / "doctor" if out is None else Path(out), out is not None)
    console = Console(quiet=quiet or as_json)
    if reading.history.note:
        Console(stderr=True, quiet=quiet).print(f"warning: {reading.history.note}", soft_wrap=True)
    console.print(f"{run}: step {reading.step}, weights {reading.weights.relative_to(run)}", soft_wrap=True)
    case = reading.case
    with console.status("range test of the learning rate") as status:
        if range_test:
            curve = _classifier_range_test(case) if isinstance(case, ClassifierCase) else _range_test(case.config)
            save_figure(folder / "lr_finder.png", _range_figure(curve, case.config.optimizer.lr))
            case = replace(case, rate_curve=(curve.rates.tolist(), curve.losses.tolist()))
        others = {"checks": CLASSIFIER_CHECKS} if classifier else {}
        findings = diagnose(case, lambda name: status.update(f"checking {name}"), **others)

    content = json.dumps(_content(run, reading, findings), indent=1, allow_nan=False)
    write_atomically(folder / FINDINGS, lambda file: file.write(content.encode()))
    if as_json and not quiet:
        print(content)
    _print(console, findings)
    console.print(f"{verdict(findings)}; written to {folder}", soft_wrap=True)
    return findings


def _output_folder(folder: Path, chosen: bool) -> Path:
    """The folder, found to be writable before minutes of checks."""
    hint = "" if chosen else "; say with --out where the findings should go"
    try:
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except UserError as error:
        raise UserError(f"{error}{hint}") from error
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}){hint}") from error
    return folder


def _range_test(config: MagicPointConfig) -> RangeTest:
    """As `superpoint find-lr` does it, only shorter."""
    data = config.data
    small = replace(
        data, curriculum=0, height=min(data.height, RANGE_HEIGHT), width=min(data.width, RANGE_WIDTH), workers=0
    )
    model, objective = build_model(config.model, config.seed), detector_objective(config)
    objective.initialise(model.detector)
    with contextlib.redirect_stdout(io.StringIO()):  # the line about the device, which would spoil --json
        fabric = make_fabric(replace(config.train, device="auto"))  # the run may have been made on another machine
    return lr_range_test(
        fabric=fabric,
        model=model,
        objective=objective,
        dataset=training_samples(small, config.seed),
        optimizer=config.optimizer,
        batch_size=min(config.train.batch_size, RANGE_BATCH),
        steps=RANGE_STEPS,
        high=10.0,
        smoothing=0.7,  # a tenth of a ramp of 60 steps; more would move the curve to the right
    )


def _classifier_range_test(case: ClassifierCase) -> RangeTest:
    with contextlib.redirect_stdout(io.StringIO()):
        fabric = make_fabric(replace(case.config.train, device="auto"))
    return lr_range_test(
        fabric=fabric,
        model=case.fresh(),
        objective=case.objective,
        dataset=case.dataset,
        optimizer=case.config.optimizer,
        batch_size=min(case.config.train.batch_size, CLASSIFIER_BATCH),
        steps=RANGE_STEPS,
        high=10.0,
        smoothing=0.7,
    )


def _range_figure(curve: RangeTest, used: float) -> Figure:
    figure = range_test_figure(curve)
    axes = figure.axes[0]
    axes.axvline(used, linestyle=":", color="#009E73", label=f"used: {used:.1e}")
    axes.legend()
    axes.set_title(f"Learning-rate range test: {len(curve.rates)} steps on a fresh network")
    return figure


def _content(run: str | Path, reading: RunReading, findings: Sequence[Finding]) -> dict[str, Any]:
    versions = {"superpoint": importlib.metadata.version("superpoint"), "torch": torch.__version__}
    return {
        "run": str(run),
        "step": reading.step,
        "weights": str(reading.weights.relative_to(run)),
        "versions": versions,
        "summary": verdict(findings),
        "findings": [finding.as_dict() for finding in findings],
    }


def _print(console: Console, findings: Sequence[Finding]) -> None:
    """A table on a terminal; elsewhere plain lines, which are not cut."""
    if not console.is_terminal:
        width = max([17, *(len(finding.check) for finding in findings)])
        for number, finding in enumerate(findings, 1):
            lines = [f"{number:2} {finding.check:{width}} {finding.status.value:4} {finding.evidence}"]
            lines += [f"{'':{width + 3}} {name}: {text}" for name, text in _advice(finding)]
            console.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)
        return
    table = Table("#", "check", "status", "evidence", box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].justify = "right"
    for column in table.columns[:3]:
        column.no_wrap = True
    for number, finding in enumerate(findings, 1):
        text = Text(finding.evidence)
        for name, advice in _advice(finding):
            text.append(f"\n{name}: ", style="bold").append(advice, style="not bold")
        table.add_row(str(number), finding.check, Text(finding.status.value, COLOURS[finding.status]), text)
    console.print(table)


def _advice(finding: Finding) -> list[tuple[str, str]]:
    return [(name, text) for name, text in (("cause", finding.cause), ("remedy", finding.remedy)) if text]
