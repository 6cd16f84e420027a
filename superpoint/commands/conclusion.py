"""What a training ends with: tables of its evaluation, the doctor's findings, the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from superpoint.classification.config import ClassifierConfig
from superpoint.commands.command import first_process
from superpoint.config import MagicPointConfig, SuperPointConfig
from superpoint.errors import UserError
from superpoint.lightglue.config import MatcherConfig

if TYPE_CHECKING:
    from superpoint.engine import TrainResult


def conclude(config: MagicPointConfig | ClassifierConfig | MatcherConfig, result: TrainResult) -> None:
    """Evaluate and diagnose a complete run, in the first process; one that trained nothing keeps what is there."""
    if result.signal is not None or not first_process():
        return
    if isinstance(config, MagicPointConfig):
        evaluate(config, keep=not result.trained)
    if config.train.report and (result.trained or not Path(config.run, "report.html").exists()):
        write_run_report(config.run, examine=not isinstance(config, ClassifierConfig))


def evaluate(config: MagicPointConfig, *, keep: bool) -> None:
    """Write and print the tables of a detector or SuperPoint; with `keep` only missing ones."""
    # PyTorch: slow to import
    from superpoint.evaluation.evaluate_synthetic import evaluate_run
    from superpoint.training.superpoint import evaluate_generated_pairs

    if config.data.overfit:
        typer.echo("data.overfit: not evaluated on other images, since none was to be learnt from")
        return
    if isinstance(config, SuperPointConfig):
        evaluate_generated_pairs(config, keep=keep)
    evaluate_run(config.run, images=config.validation.final_images, keep=keep)


def write_run_report(run: str, *, examine: bool = True) -> None:
    """Print the doctor's findings in one line, if it shall `examine` the run, and write the report."""
    # PyTorch and Matplotlib: slow to import
    from superpoint.diagnostics.diagnosis import verdict
    from superpoint.diagnostics.doctor import doctor
    from superpoint.diagnostics.report.write import write_report

    try:
        if examine:
            findings = doctor(run, others=other_runs(), range_test=False, quiet=True)
            typer.echo(f"doctor: {verdict(findings)} (more by: superpoint doctor {run})")
        typer.echo(f"report: {write_report(run, others=other_reports())}")
    except UserError as error:  # the run itself is complete
        typer.echo(f"warning: no findings or report: {error}")


def other_runs() -> dict[str, Any]:
    """Return by stage how the doctor reads runs of other kinds than detectors."""
    from superpoint.lightglue.checks import OTHER_RUNS

    return OTHER_RUNS


def other_reports() -> dict[str, Any]:
    """Return by stage what makes the sections of their reports."""
    from superpoint.classification.report import OTHER_REPORTS as CLASSIFIERS
    from superpoint.lightglue.report import OTHER_REPORTS as MATCHERS

    return {**CLASSIFIERS, **MATCHERS}
