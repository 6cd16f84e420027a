"""Commands that say what a network looks like, what it learns from, and why a training run fails."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from superpoint.commands.command import DIAGNOSE, Outcome, command
from superpoint.commands.conclusion import other_reports, other_runs
from superpoint.commands.options import (
    Models,
    Momenta,
    OptionalModel,
    Rates,
    Run,
    check_path,
    ends_in,
    numbers,
)
from superpoint.config import MagicPointConfig, ModelConfig, SuperPointConfig, load_config, load_run_config
from superpoint.config.loading import read_stage
from superpoint.errors import UserError

OVERFIT = {  # what `overfit` sets by itself, or by an option
    "run": "--out",
    "data.overfit": "--scenes",
    "data.overfit_first": "--index",
    "train.steps": "--steps",
    "train.minutes": "--minutes",
    **dict.fromkeys(["schedule", "train.batch_size", "train.accumulate", "train.ema", "train.validate_every"], ""),
    **dict.fromkeys(["data.workers", "data.curriculum", "data.photometric", "data.homography", "train.log_every"], ""),
}


@command("doctor", DIAGNOSE, as_json=True)
def doctor_command(
    run: Run,
    range_test: Annotated[
        bool, Option("--range-test/--no-range-test", help="Also try learning rates on a fresh network.")
    ] = True,
    out: Annotated[Path | None, Option(help="Folder for findings.json; default <run>/doctor.")] = None,
) -> Outcome:
    """Say what is wrong with a run, why, and what to do: 15 checks of data, labels, network, output and history.

    Runs that train descriptors get five more. Exit code 1 if a check fails.

    superpoint doctor runs/quick
    """
    from superpoint.diagnostics.doctor import FINDINGS, doctor
    from superpoint.diagnostics.finding import Status
    from superpoint.pretrained import result_run

    findings = doctor(run, others=other_runs(), range_test=range_test, out=out)
    failed = any(finding.status is Status.FAIL for finding in findings)
    return Outcome((out or result_run(run) / "doctor") / FINDINGS, failed=failed)


@command("report", DIAGNOSE)
def report_command(
    run: Run, out: Annotated[Path | None, Option(help="The HTML file; default <run>/report.html.")] = None
) -> None:
    """Write one HTML page about a run: curves, findings, heatmaps, samples, evaluation.

    superpoint report runs/quick
    """
    from superpoint.diagnostics.report.write import write_report

    typer.echo(f"report: {write_report(run, out, other_reports())}")


def training_config(file: str | None, overrides: list[str], options: dict[str, Any]) -> MagicPointConfig:
    """Return the recipe of either training, without a file the one that the overrides belong to."""
    if file is not None:
        return load_run_config(file, overrides)
    joint = any(each.startswith(("descriptor.", "model.descriptor_dim=")) for each in overrides)
    return load_config(SuperPointConfig if joint else MagicPointConfig, None, overrides)


def overfit_config(file: str | None, overrides: list[str], options: dict[str, Any]) -> MagicPointConfig:
    """Return the recipe; refuse settings that `overfit` replaces, and options that do not fit."""
    out = options["out"]
    if out is not None and out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out {out}: found a folder that is not empty, expected a new one")
    if options["labels"] is not None and options["image"] is None:
        raise UserError(f"--labels {options['labels']}: found no --image that they belong to")
    for override in overrides:
        key = override.partition("=")[0]
        for replaced, option in OVERFIT.items():
            if f"{key}.".startswith(f"{replaced}."):
                how = f"by {option}" if option else "by itself: no augmentation, a constant rate, one batch"
                raise UserError(f"{override}: overfit sets {replaced} {how}")
    if file is not None and read_stage(file) == "train-matcher":
        again = f"superpoint train-matcher --config {file} data.overfit=1 run=NEW"
        raise UserError(f"{file}: found the recipe of a matcher, which learns a pair by heart by: {again}")
    return training_config(file, overrides, options)


@command("overfit", DIAGNOSE, config=overfit_config)
def overfit_command(
    settings: MagicPointConfig,
    index: Annotated[int | None, Option(min=0, help="Synthetic scene; default the first with a label.")] = None,
    image: Annotated[Path | None, Option(help="A photograph instead, resized and cropped to fit."), check_path] = None,
    labels: Annotated[
        Path | None,
        Option(help="Its keypoints (text x y, CSV, npy, npz); default detections of magicpoint."),
        check_path,
    ] = None,
    scenes: Annotated[int, Option(min=1, max=64, help="How many scenes, from --index on.")] = 1,
    steps: Annotated[int, Option(min=1, help="Give up after this many steps ...")] = 400,
    minutes: Annotated[float, Option(min=0.01, help="... or minutes.")] = 3.0,
    out: Annotated[Path | None, Option(help="New run folder; default runs/overfit, runs/overfit-2, ...")] = None,
) -> Outcome:
    """Learn one image by heart: PASS when every cell is right, otherwise FAIL with the cause and exit code 1.

    With a recipe of train-superpoint, one pair of views: every match must be right too.

    superpoint overfit
    superpoint overfit --config superpoint/lite --image street.jpg --minutes 1
    """
    from superpoint.diagnostics.overfit.attempt import overfit

    budget = {"steps": steps, "minutes": minutes}
    result = overfit(settings, out=out, index=index, image=image, labels=labels, scenes=scenes, **budget)
    return Outcome(signal=result.signal, failed=not result.passed)


@command("find-lr", DIAGNOSE, config=training_config)
def find_lr_command(
    settings: MagicPointConfig,
    out: Annotated[Path, Option(help="Folder for lr_finder.png and .json.")] = Path("runs/lr-finder"),
    steps: Annotated[int, Option(min=10, help="Steps of the ramp.")] = 200,
) -> None:
    """Ramp the learning rate up over a short run and suggest one.

    superpoint find-lr --config magicpoint/lite --out runs/lr-finder
    """
    from superpoint.diagnostics.rates.finder import find_lr

    find_lr(settings, out, steps=steps)


def study_config(file: str | None, overrides: list[str], options: dict[str, Any]) -> MagicPointConfig:
    """Return the recipe, without a file that of a small network."""
    return load_config(MagicPointConfig, file or "magicpoint/lr-study", overrides)


@command("lr-study", DIAGNOSE, config=study_config)
def lr_study_command(
    settings: MagicPointConfig,
    out: Annotated[Path, Option(help="Folder for lr_study.png and .json.")] = Path("runs/lr-study"),
    rates: Rates = "0.03,0.3,1.4,4,30",
    momenta: Momenta = "0,0.9",
    steps: Annotated[int, Option(min=6, help="Steps of each run.")] = 120,
) -> None:
    """Compare learning rates and momenta in short runs on one batch: slow, good, oscillates, stuck or diverged.

    Without --config: the lite network on 8 scenes of 64x96, about a minute on two cores.

    superpoint lr-study --rates 0.01,0.1,1,10 --momenta 0,0.9
    """
    grid = {"rates": numbers("--rates", rates), "momenta": numbers("--momenta", momenta)}
    from superpoint.diagnostics.rates.study import lr_study

    lr_study(settings, out, **grid, steps=steps)


@command("visualize-dataset", DIAGNOSE, config=MagicPointConfig)
def visualize_dataset_command(
    settings: MagicPointConfig,
    out: Annotated[Path, Option(help="Folder for the contact sheets.")] = Path("runs/dataset"),
    columns: Annotated[int, Option(min=1, max=64, help="Samples of each primitive.")] = 8,
    index: Annotated[int | None, Option(min=0, help="Also this one training sample, enlarged.")] = None,
) -> None:
    """Draw contact sheets of the synthetic shapes with their labels, and of augmented training samples.

    superpoint visualize-dataset --index 1234 data.photometric.strength=0.5
    """
    from superpoint.diagnostics.dataset import visualize_dataset

    visualize_dataset(settings, out, columns=columns, index=index)


@command("visualize-heatmaps", DIAGNOSE)
def visualize_heatmaps_command(
    model: Models,
    image: Annotated[list[Path] | None, Option(help="A photograph; may be repeated."), check_path] = None,
    index: Annotated[list[int] | None, Option(min=0, help="A training sample; may be repeated.")] = None,
    labels: Annotated[
        Path | None, Option(help="Keypoints of the one --image: text, CSV, .npy or .npz."), check_path
    ] = None,
    out: Annotated[Path | None, Option(help="Folder for the figures; default <run>/heatmaps.")] = None,
    resize: Annotated[
        int, Option(min=16, help="Shrink photographs to this longest side, px, to see single cells.")
    ] = 320,
) -> None:
    """Show heatmap, dustbin, logits and wrong cells on scenes and photographs, of one --model or several.

    superpoint visualize-heatmaps --model runs/lite --model magicpoint --image street.jpg
    """
    from superpoint.diagnostics.heatmaps.visualize import visualize_heatmaps

    shown = {"images": image or (), "indices": index or (), "labels": labels}
    visualize_heatmaps(model, **shown, out=out, longest=resize)


def network_config(file: str | None, overrides: list[str], options: dict[str, Any]) -> ModelConfig:
    """Return the network of a recipe; beside --model there must be none."""
    if options["model"] is not None and (overrides or file is not None):
        raise UserError(f"summary: found --model {options['model']} and a recipe, expected one of the two")
    return training_config(file, overrides, options).model


@command("summary", DIAGNOSE, config=network_config, as_json=True)
def summary_command(
    settings: ModelConfig,
    model: OptionalModel = None,
    height: Annotated[int, Option(help="Height of the image, px.")] = 120,
    width: Annotated[int, Option(help="Width of the image, px.")] = 160,
    out: Annotated[
        Path | None, Option(help="Draw the architecture to this .svg or .png."), ends_in(".svg", ".png")
    ] = None,
) -> Outcome:
    """List layers, output shapes, parameters and FLOPs of a network; with --out its architecture drawn.

    superpoint summary --model runs/lite --out lite.svg
    superpoint summary model.encoder=lite --json
    """
    from superpoint.diagnostics.summary.show import show_summary

    return Outcome(show_summary(model, model=settings, height=height, width=width, out=out).as_dict())
