"""Commands that train, and the list of what was trained."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from typer import Argument, Option

from superpoint.budget import Budget
from superpoint.classification.config import ClassifierConfig
from superpoint.commands.command import TRAIN, Outcome, command
from superpoint.commands.conclusion import conclude
from superpoint.commands.options import Resume, check_path
from superpoint.config import AdaptConfig, FinetuneConfig, MagicPointConfig, PipelineConfig, SuperPointConfig
from superpoint.config.chains import STAGES
from superpoint.errors import check_one_of
from superpoint.lightglue.config import MatcherConfig


@command("train-magicpoint", TRAIN, config=MagicPointConfig)
def train_magicpoint_command(
    settings: MagicPointConfig, resume: Resume = False, budget: Budget | None = None
) -> Outcome:
    """Train a detector on synthetic shapes; the defaults are the one-hour recipe for two cores.

    superpoint train-magicpoint --config magicpoint/quick run=runs/quick
    """
    from superpoint.training.magicpoint import train_magicpoint

    result = train_magicpoint(settings, resume=resume, budget=budget)
    conclude(settings, result)
    return Outcome(signal=result.signal)


@command("train-superpoint", TRAIN, config=SuperPointConfig)
def train_superpoint_command(
    settings: SuperPointConfig, resume: Resume = False, budget: Budget | None = None
) -> Outcome:
    """Train detector and descriptor together on pairs of views of labelled photographs.

    superpoint train-superpoint --config superpoint/lite data.kind=labelled data.labels=labels.h5 data.images=photos
    """
    from superpoint.training.superpoint import train_superpoint

    result = train_superpoint(settings, resume=resume, budget=budget)
    conclude(settings, result)
    return Outcome(signal=result.signal)


@command("finetune", TRAIN, config=FinetuneConfig)
def finetune_command(settings: FinetuneConfig, resume: Resume = False, budget: Budget | None = None) -> Outcome:
    """Go on training a pretrained SuperPoint on your own photographs: labels, training, a page of before and after.

    images= is the folder of photographs (8 at least, better some hundred), weights= the network to start from, run= the
    folder for all that is made. --print-config shows all settings.

    superpoint finetune images=photos run=runs/mine --minutes 60
    superpoint finetune images=photos run=runs/other weights=superpoint
    """
    from superpoint.diagnostics.report.finetune import write_finetune_page
    from superpoint.training.finetune import finetune

    stopped = finetune(settings, resume=resume, conclude=conclude, budget=budget)
    if stopped is None:
        typer.echo(f"report: {write_finetune_page(settings)}")
    return Outcome(signal=stopped)


@command("adapt", TRAIN, config=AdaptConfig)
def adapt_command(settings: AdaptConfig, resume: Resume = False, budget: Budget | None = None) -> Outcome:
    """Label photographs by homographic adaptation and train a detector on the labels, in one round or several.

    superpoint adapt --config adapt/default images=photos run=runs/adapt
    """
    from superpoint.training.adapt import adapt

    return Outcome(signal=adapt(settings, resume=resume, conclude=conclude, budget=budget))


@command("pipeline", TRAIN, config=PipelineConfig)
def pipeline_command(
    settings: PipelineConfig,
    resume: Resume = False,
    first: Annotated[
        str | None,
        Option(
            "--from",
            metavar="|".join(STAGES),
            help="Do this stage and what follows anew; the old is kept aside.",
            autocompletion=lambda: list(STAGES),
        ),
    ] = None,
    budget: Budget | None = None,
) -> Outcome:
    """Go the whole way from nothing: shapes, MagicPoint, labels of photographs, SuperPoint, evaluation beside SIFT.

    images= is the folder of photographs (without it, some that are installed), run= the folder for all that is made.
    --print-config shows all settings.

    superpoint pipeline --config pipeline/quick images=photos run=runs/mine --minutes 60
    """
    if first is not None:
        check_one_of("--from", first, STAGES)
    from superpoint.training.pipeline import pipeline

    return Outcome(signal=pipeline(settings, resume=resume, first=first, conclude=conclude, budget=budget))


@command("train-classifier", TRAIN, config=ClassifierConfig)
def train_classifier_command(
    settings: ClassifierConfig, resume: Resume = False, budget: Budget | None = None
) -> Outcome:
    """Train a classifier on images with one class each: data.train = a class folder, a CSV list or an IDX file.

    superpoint train-classifier --config classifier/small data.train=photos run=runs/pets
    """
    from superpoint.classification.training import train_classifier

    result = train_classifier(settings, resume=resume, budget=budget)
    conclude(settings, result)
    return Outcome(signal=result.signal)


@command("train-matcher", TRAIN, config=MatcherConfig)
def train_matcher_command(settings: MatcherConfig, resume: Resume = False, budget: Budget | None = None) -> Outcome:
    """Train LightGlue on the features of a network; views of photographs and their features are made first.

    superpoint train-matcher --config matcher/lite data.images=photos run=runs/matcher
    """
    from superpoint.lightglue.training import learnt, train_matcher

    result = train_matcher(settings, resume=resume, budget=budget)
    conclude(settings, result)
    failed = bool(settings.data.overfit and result.trained and not learnt(result.metrics))
    if settings.data.overfit and result.trained:
        shown = ", ".join(f"{key} {result.metrics[key]:.3f}" for key in ("recall", "precision"))
        typer.echo(
            f"{'FAIL' if failed else 'PASS'}: {settings.data.overfit} pairs by heart, step {result.step}: {shown}"
        )
    return Outcome(signal=result.signal, failed=failed)


@command("runs", TRAIN, as_json=True)
def runs_command(
    folder: Annotated[Path, Argument(help="with run folders at any depth"), check_path] = Path("runs"),
) -> Outcome:
    """List training runs: stage, state, step, best score, size, age, and how to go on with those that are not finished.

    superpoint runs
    superpoint runs /data/runs --json
    """
    from superpoint.engine.runs import find_runs

    found = find_runs(folder)
    outcome = Outcome([asdict(status) for status in found])
    if not found:
        typer.echo(f"{folder}: no runs yet; superpoint train-magicpoint makes one")
        return outcome
    table = Table()
    for column in ("run", "stage", "state", "step", "best", "size", "age"):
        table.add_column(column, justify="right" if column in ("step", "best", "size", "age") else "left")
    now = time.time()
    for status in found:
        best = "-" if status.score is None else f"{status.metric} {status.score:.3f}"
        cells = [str(status.path), status.stage or "-", status.state, f"{status.step:,}", best]
        table.add_row(*cells, f"{status.bytes / 1e6:,.1f} MB", format_age(now - status.modified))
    console = Console(width=max(Console().width, 120))
    console.print(table)
    for status in found:
        if status.resume is not None:
            console.print(f"go on: {status.resume}", soft_wrap=True, highlight=False, markup=False)
    return outcome


def format_age(seconds: float) -> str:
    """Return an age in its largest whole unit, such as "3 h"."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(int(seconds), 0)} s"
