"""Commands that measure a trained network or look at what it detects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from superpoint.commands.options import Overrides, Run, command_group
from superpoint.config import DecodeConfig, load_config

app = command_group()
evaluate_app = command_group()
app.add_typer(evaluate_app, name="evaluate", help="Measure a trained network.")


@evaluate_app.command("synthetic")
def evaluate_synthetic_command(
    run: Run,
    images: Annotated[int, typer.Option(min=9, help="Scenes, each clean and noisy.")] = 1000,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables; default <run>/evaluation.")] = None,
) -> None:
    """Average precision and localisation error on synthetic shapes, beside FAST, Harris and Shi-Tomasi."""
    from superpoint.stages.evaluate import evaluate_run

    evaluate_run(run, images=images, out=out)


@app.command("detect-samples")
def detect_samples_command(
    run: Run,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures; default <run>/detections.")] = None,
) -> None:
    """Draw detections on the photographs that scikit-image ships; overrides are keys of decode (threshold=0.1)."""
    settings = load_config(DecodeConfig, None, overrides or [])
    from superpoint.stages.detections import detect_samples

    detect_samples(run, settings, out)
