"""Commands that say why a training run fails."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from superpoint.commands.options import ConfigFile, Overrides, command_group
from superpoint.config import MagicPointConfig, SuperPointConfig, load_config

app = command_group()
JOINT = re.compile(rb"^descriptor:", re.MULTILINE)  # in a YAML file: a configuration of train-superpoint

# What lr-study trains without a --config: small enough for a minute, and curves of full size look the same.
LR_STUDY = [
    *("data.height=64", "data.width=96", "model.encoder=lite", "model.head_channels=64"),
    *("train.batch_size=8", "optimizer.weight_decay=0"),
]


@app.command("doctor")
def doctor_command(
    run: Annotated[Path, typer.Argument(help="run folder", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    range_test: Annotated[
        bool, typer.Option("--range-test/--no-range-test", help="Also try learning rates on a fresh network.")
    ] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for findings.json; default <run>/doctor.")] = None,
) -> None:
    """Say what is wrong with a run, why, and what to do: 15 checks of data, labels, network, output and history.

    Six more of runs that train descriptors. Exit code 1 if a check fails.
    """
    from superpoint.diagnostics.doctor import doctor
    from superpoint.diagnostics.finding import Status

    findings = doctor(run, range_test=range_test, out=out, as_json=as_json)
    if any(finding.status is Status.FAIL for finding in findings):
        raise typer.Exit(1)


@app.command("report")
def report_command(
    runs: Annotated[list[Path], typer.Argument(help="run folders; several are compared", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="The HTML file; default report.html or comparison.html in the first run folder.")
    ] = None,
) -> None:
    """One HTML page about a run (curves, findings, heatmaps, samples, evaluation), or a comparison of several."""
    from superpoint.classification.report import OTHER_REPORTS
    from superpoint.diagnostics.report.write import write_report

    typer.echo(f"report: {write_report(runs, out, OTHER_REPORTS)}")


@app.command("overfit")
def overfit_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    index: Annotated[int | None, typer.Option(min=0, help="Synthetic scene; default the first with a label.")] = None,
    image: Annotated[Path | None, typer.Option(help="A photograph instead, resized and cropped to fit.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Its points (text x y, CSV, npy, npz); default detections of magicpoint.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=64, help="How many scenes, from --index on.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Give up after this many steps ...")] = 400,
    seconds: Annotated[float, typer.Option(min=1, help="... or seconds.")] = 180.0,
    out: Annotated[
        Path | None, typer.Option(help="New run folder; default runs/overfit, runs/overfit-2, ...", show_default=False)
    ] = None,
) -> None:
    """Learn one image by heart: PASS when every cell is right, otherwise FAIL with the cause and exit code 1.

    With a configuration of train-superpoint (a section descriptor), one pair of views: every match must be right too.
    """
    given = overrides or []
    settings = load_config(SuperPointConfig if _joint(config, given) else MagicPointConfig, config, given)
    from superpoint.diagnostics.overfit.scenes import check_overrides, overfit

    check_overrides(given)
    attempt = {"out": out, "index": index, "image": image, "labels": labels, "images": images}
    if isinstance(settings, SuperPointConfig):
        from superpoint.diagnostics.overfit.pairs import overfit_pairs

        result = overfit_pairs(settings, **attempt, steps=steps, seconds=seconds)
    else:
        result = overfit(settings, **attempt, steps=steps, seconds=seconds)
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)
    if not result.passed:
        raise typer.Exit(1)


def _joint(config: Path | None, overrides: list[str]) -> bool:
    """Whether these are settings of train-superpoint."""
    if config is not None and config.is_file() and JOINT.search(config.read_bytes()):
        return True
    return any(one.startswith(("descriptor.", "model.descriptor_dim=")) for one in overrides)


@app.command("lr-study")
def lr_study_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    out: Annotated[Path, typer.Option(help="Folder for lr_study.png, .md, .csv and .json.")] = Path("runs/lr-study"),
    rates: Annotated[str, typer.Option(help="Learning rates of SGD.")] = "0.03,0.3,1.4,4,30",
    momenta: Annotated[str, typer.Option(help="Momenta, each 0 or more and below 1.")] = "0,0.9",
    steps: Annotated[int, typer.Option(min=6, help="Steps of each run.")] = 120,
) -> None:
    """Compare learning rates and momenta in short runs on one batch: slow, good, oscillates, stuck or diverged.

    Without --config: the lite network on 8 scenes of 64x96, about a minute on two cores.
    """
    settings = load_config(MagicPointConfig, config, [*([] if config else LR_STUDY), *(overrides or [])])
    from superpoint.diagnostics.rates.study import lr_study, parse_numbers

    grid = {"rates": parse_numbers("--rates", rates), "momenta": parse_numbers("--momenta", momenta)}
    lr_study(settings, out, **grid, steps=steps)
