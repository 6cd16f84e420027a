"""The console command `superpoint`: one sub-command a stage.

Stages import late, so that `superpoint --help` and a mistyped option answer at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from superpoint.config import DecodeConfig, MagicPointConfig, dump_config, load_config
from superpoint.errors import UserError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__
)
evaluate_app = typer.Typer(no_args_is_help=True, help="Measure a trained network.")
app.add_typer(evaluate_app, name="evaluate")

ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file; what it does not name has its default.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="key.path=value, over the file", show_default=False)]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the resolved configuration and stop.")]
Run = Annotated[Path, typer.Argument(help="run folder, weights file or name of released weights", show_default=False)]


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
    from superpoint.stages.magicpoint import train_magicpoint

    result = train_magicpoint(settings, resume=resume)
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


@app.command("find-lr")
def find_lr_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    out: Annotated[Path, typer.Option(help="Folder for lr_finder.png and .json.")] = Path("runs/lr-finder"),
    steps: Annotated[int, typer.Option(min=10, help="Steps of the ramp.")] = 200,
) -> None:
    """Ramp the learning rate up over a short run and suggest one."""
    settings = load_config(MagicPointConfig, config, overrides or [])
    from superpoint.stages.lr_finder import find_lr

    find_lr(settings, out, steps=steps)


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


@app.command("export-weights")
def export_weights_command(
    run: Run,
    out: Annotated[Path, typer.Argument(help="the .safetensors file to write", show_default=False)],
    half: Annotated[bool, typer.Option("--half", help="Store kernels as float16: half the size.")] = False,
) -> None:
    """Write the best (averaged) weights of a run as one safetensors file to share."""
    from superpoint.stages.export import export_weights

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
    from superpoint.stages.dataset import visualize_dataset

    visualize_dataset(settings, out, columns=columns, index=index)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (also SUPERPOINT_DEBUG=1).")] = False,
) -> None:
    if debug:
        os.environ["SUPERPOINT_DEBUG"] = "1"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a `UserError` becomes one line on standard error and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        app(args=arguments, prog_name="superpoint")
    except UserError as error:
        if os.environ.get("SUPERPOINT_DEBUG") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        # A full disk or a vanished folder in the middle of a stage: the user's to mend as well.
        if os.environ.get("SUPERPOINT_DEBUG") == "1":
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or error}", file=sys.stderr)
        raise SystemExit(2) from None
