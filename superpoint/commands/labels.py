"""Commands for labels and features in HDF5."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from superpoint.commands.options import ConfigFile, PrintConfig, command_group
from superpoint.config import LabellingConfig, dump_config, load_config
from superpoint.errors import UserError

app = command_group()
labels_app = command_group()
app.add_typer(labels_app, name="labels", help="Look into a feature file, ours or hloc's.")

FeatureFile = Annotated[Path, typer.Argument(help="feature file, or folder of shards", show_default=False)]
OVERRIDE = re.compile(r"[a-z_]+(\.[a-z_]+)*=.*", re.DOTALL)


@app.command("export-detections")
def export_detections_command(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGES... [KEY=VALUE...]",
            help="folders, globs, lists (.txt), images, HDF5, tar shards (shard-{000..012}.tar, pipe:command); "
            "and key.path=value, over the file",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The feature file to write (.h5).", show_default=False)] = None,
    weights: Annotated[str | None, typer.Option(help="Run folder, weights file or name of pretrained weights.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that image names are relative to.")] = None,
    config: ConfigFile = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an export, or start it.")] = False,
    print_config: PrintConfig = False,
) -> None:
    """Detect points on images, by homographic adaptation or (adaptation=none) plainly, and write them to one file."""
    overrides = [text for text in arguments or [] if OVERRIDE.fullmatch(text) and not Path(text).exists()]
    inputs = [text for text in arguments or [] if text not in overrides]
    for text in overrides:
        if text.startswith("adaptation=") and text != "adaptation=none":
            raise UserError(f"{text}: expected adaptation=none, or adaptation.KEY=VALUE")
    overrides = ["adaptation.homographies=0" if text == "adaptation=none" else text for text in overrides]
    if weights is not None:
        overrides.append(f"weights={weights}")
    settings = load_config(LabellingConfig, config, overrides)
    if print_config:
        typer.echo(dump_config(settings), nl=False)
        return
    if out is None:
        raise UserError("--out: expected the feature file to write, e.g. --out labels.h5")
    from superpoint.labelling.export import export_detections

    result = export_detections(settings, inputs, out, root=root, resume=resume)
    if result.signal is not None:
        typer.echo(f"stopped; the finished shards are in {result.path}, go on by --resume", err=True)
        raise typer.Exit(128 + result.signal)


@labels_app.command("info")
def labels_info_command(file: FeatureFile) -> None:
    """Points an image, their placement, settings, skipped images, alarms."""
    from superpoint.labelling.show import labels_info

    labels_info(file)


@labels_app.command("show")
def labels_show_command(
    file: FeatureFile,
    images: Annotated[Path, typer.Argument(help="folder (or HDF5 file) of the images", show_default=False)],
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("labels.png"),
    count: Annotated[int, typer.Option(min=1, max=400, help="Images, evenly chosen.")] = 16,
    columns: Annotated[int, typer.Option(min=1, max=40)] = 4,
) -> None:
    """A contact sheet of images with their points, coloured by score."""
    from superpoint.labelling.show import labels_show

    labels_show(file, images, out, count=count, columns=columns)


@labels_app.command("check")
def labels_check_command(file: FeatureFile) -> None:
    """Damage, shapes that do not fit, values that cannot be; exit code 1 if there is any."""
    from superpoint.labelling.show import labels_check

    if labels_check(file):
        raise typer.Exit(1)
