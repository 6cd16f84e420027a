"""Commands that train, and what belongs to training data and weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from superpoint.commands.conclusion import conclude
from superpoint.commands.options import ConfigFile, Overrides, PrintConfig, Run, command_group
from superpoint.config import (
    AdaptConfig,
    FinetuneConfig,
    MagicPointConfig,
    PipelineConfig,
    SuperPointConfig,
    dump_config,
    load_config,
)

app = command_group()


@app.command("train-magicpoint")
def train_magicpoint_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run folder, or start it.")] = False,
    print_config: PrintConfig = False,
) -> None:
    """Train a detector on synthetic shapes; the defaults are the one-hour recipe for two cores."""
    settings = load_config(MagicPointConfig, config, overrides or [])
    if print_config:
        typer.echo(dump_config(settings), nl=False)
        return
    from superpoint.training.magicpoint import train_magicpoint

    result = train_magicpoint(settings, resume=resume)
    conclude(settings, result)
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


@app.command("train-superpoint")
def train_superpoint_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run folder, or start it.")] = False,
    print_config: PrintConfig = False,
) -> None:
    """Train detector and descriptor together on pairs of views of labelled photographs."""
    settings = load_config(SuperPointConfig, config, overrides or [])
    if print_config:
        typer.echo(dump_config(settings), nl=False)
        return
    from superpoint.training.superpoint import train_superpoint

    result = train_superpoint(settings, resume=resume)
    conclude(settings, result)
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


@app.command("adapt")
def adapt_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the rounds, or start them.")] = False,
    print_config: PrintConfig = False,
) -> None:
    """Label photographs by homographic adaptation and train on the labels, in one round or several."""
    settings = load_config(AdaptConfig, config, overrides or [])
    if print_config:
        typer.echo(dump_config(settings), nl=False)
        return
    from superpoint.training.adapt import adapt

    signal = adapt(settings, resume=resume, conclude=conclude)
    if signal is not None:
        raise typer.Exit(128 + signal)


@app.command("pipeline")
def pipeline_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run folder, or start it.")] = False,
    first: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STAGE",
            help="magicpoint, labels, superpoint or evaluation: do it and what follows anew; the old is kept aside.",
        ),
    ] = None,
    print_config: PrintConfig = False,
) -> None:
    """The whole chain from nothing: shapes, MagicPoint, labels of photographs, SuperPoint, evaluation beside SIFT."""
    settings = load_config(PipelineConfig, config, overrides or [])
    if print_config:
        typer.echo(dump_config(settings), nl=False)
        return
    from superpoint.training.pipeline import pipeline

    signal = pipeline(settings, resume=resume, first=first, conclude=conclude)
    if signal is not None:
        raise typer.Exit(128 + signal)


@app.command("finetune")
def finetune_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    images: Annotated[str | None, typer.Option(help="Folder of photographs.", show_default=False)] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Run folder, weights file or name of pretrained weights; default superpoint-lite."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Their points (.h5), if there are some already.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run folder, or start it.")] = False,
    print_config: PrintConfig = False,
) -> None:
    """Train a SuperPoint on, on photographs of your own: labels, training, a table of before and after."""
    given = {"images": images, "weights": weights, "labels": labels}
    options = {key: value for key, value in given.items() if value is not None}
    settings = replace(load_config(FinetuneConfig, config, overrides or []), **options)
    if print_config:
        typer.echo(dump_config(settings), nl=False)
        return
    from superpoint.training.finetune import finetune

    signal = finetune(settings, resume=resume, conclude=conclude)
    if signal is not None:
        raise typer.Exit(128 + signal)


@app.command("find-lr")
def find_lr_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    out: Annotated[Path, typer.Option(help="Folder for lr_finder.png and .json.")] = Path("runs/lr-finder"),
    steps: Annotated[int, typer.Option(min=10, help="Steps of the ramp.")] = 200,
) -> None:
    """Ramp the learning rate up over a short run and suggest one."""
    settings = load_config(MagicPointConfig, config, overrides or [])
    from superpoint.diagnostics.rates.finder import find_lr

    find_lr(settings, out, steps=steps)


@app.command("export-weights")
def export_weights_command(
    run: Run,
    out: Annotated[Path, typer.Argument(help="the .safetensors file to write", show_default=False)],
    half: Annotated[bool, typer.Option("--half", help="Store kernels as float16: half the size.")] = False,
) -> None:
    """Write the best (averaged) weights of a run as one safetensors file to share."""
    from superpoint.models.weights import export_weights

    export_weights(run, out, half=half)


@app.command("visualize-dataset")
def visualize_dataset_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    out: Annotated[Path, typer.Option(help="Folder for the contact sheets.")] = Path("runs/dataset"),
    columns: Annotated[int, typer.Option(min=1, max=64, help="Samples of each primitive.")] = 8,
    index: Annotated[int | None, typer.Option(min=0, help="Also this one training sample, enlarged.")] = None,
) -> None:
    """Contact sheets of the synthetic shapes with their labels, per primitive, and of augmented training samples."""
    settings = load_config(MagicPointConfig, config, overrides or [])
    from superpoint.diagnostics.dataset import visualize_dataset

    visualize_dataset(settings, out, columns=columns, index=index)
