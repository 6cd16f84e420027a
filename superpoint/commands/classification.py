"""Commands about images with one class each: lists, training, prediction, studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from superpoint.classification.config import ClassifierConfig
from superpoint.commands.conclusion import conclude
from superpoint.commands.options import ConfigFile, Overrides, PrintConfig, command_group
from superpoint.config import dump_config, load_config

app = command_group()
classes = command_group()
classes.info.help = "Lists of images with one class each."
app.add_typer(classes, name="classes")


@app.command("train-classifier")
def train_classifier_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run folder, or start it.")] = False,
    print_config: PrintConfig = False,
) -> None:
    """Train a classifier on images with one class each: data.train = a class folder, a CSV list or an IDX file."""
    settings = load_config(ClassifierConfig, config, overrides or [])
    if print_config:
        typer.echo(dump_config(settings), nl=False)
        return
    from superpoint.classification.training import train_classifier

    result = train_classifier(settings, resume=resume)
    conclude(settings, result)
    if result.signal is not None:
        raise typer.Exit(128 + result.signal)


@classes.command("csv")
def classes_csv_command(
    folder: Annotated[Path, typer.Argument(help="with a sub-folder of images for each class", show_default=False)],
    out: Annotated[Path, typer.Option(help="The CSV to write: path,label,split.")] = Path("classes.csv"),
    test_share: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of each class that is test.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Draws the order and the split.")] = 0,
) -> None:
    """Write the list of the images of a folder, shuffled and split into training and test images."""
    from superpoint.classification.data.csv_list import write_csv_list

    counts = write_csv_list(folder, out, test_share=test_share, seed=seed)
    typer.echo(f"{out}: {counts['train']} training and {counts['test']} test images")


@app.command("predict-classes")
def predict_classes_command(
    run: Annotated[Path, typer.Argument(help="run folder or weights of train-classifier", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="with the images", show_default=False)],
    out: Annotated[Path, typer.Option(help="The CSV to write: id,label.")] = Path("submission.csv"),
    label: Annotated[str, typer.Option(help="name, number, or probability (of --class).")] = "name",
    of_class: Annotated[
        str | None, typer.Option("--class", help="Of --label probability; default the last class.", show_default=False)
    ] = None,
) -> None:
    """Classify the images of a folder; a line an image, in natural order of the files (1, 2, 10)."""
    from superpoint.classification.prediction import predict_classes

    predict_classes(run, folder, out, label=label, of_class=of_class)


study = command_group()
study.info.help = "Grids of small classifiers, compared in one table and one figure. Resumable: give the command again."
app.add_typer(study, name="study")
Out = Annotated[Path | None, typer.Option(help="Folder of the study; default runs/study-<name>.", show_default=False)]


@study.command("mnist")
def study_mnist_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    out: Out = None,
    rates: Annotated[str, typer.Option(help="Learning rates of SGD.")] = "0.01,0.03,0.1,0.3",
    momenta: Annotated[str, typer.Option(help="Momenta, each 0 or more and below 1.")] = "0,0.9",
) -> None:
    """A fully connected network against two convolutions on 1000 digits, by learning rate and momentum."""
    from superpoint.classification.study import mnist_cells
    from superpoint.diagnostics.rates.study import parse_numbers

    settings = _study_config("mnist", config, overrides)
    cells = mnist_cells(settings, parse_numbers("--rates", rates), parse_numbers("--momenta", momenta))
    _run_study("mnist", cells, out)


@study.command("depth")
def study_depth_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    out: Out = None,
    depths: Annotated[str, typer.Option(help="Layers: 8, 14, 20, 32, 44, 56 or 110.")] = "20,56",
) -> None:
    """Plain against residual networks of the same depth on small images."""
    from superpoint.backbones.classifiers import SMALL_DEPTHS
    from superpoint.classification.study import depth_cells
    from superpoint.diagnostics.rates.study import parse_numbers
    from superpoint.errors import check_one_of

    chosen = parse_numbers("--depths", depths)
    for depth in chosen:
        check_one_of("--depths", f"{depth:g}", [str(known) for known in SMALL_DEPTHS])
    settings = _study_config("depth", config, overrides)
    _run_study("depth", depth_cells(settings, [int(depth) for depth in chosen]), out)


@study.command("ingredients")
def study_ingredients_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    out: Out = None,
    pretrain: Annotated[
        str | None, typer.Option(help="Other images by class, to pretrain on (as data.train).", show_default=False)
    ] = None,
) -> None:
    """What batch norm, truncated-normal initialisation, augmentation and pretraining do for a small network."""
    from superpoint.classification.study import ingredient_cells

    _run_study("ingredients", ingredient_cells(_study_config("ingredients", config, overrides), pretrain), out)


def _study_config(name: str, config: Path | None, overrides: list[str] | None) -> ClassifierConfig:
    from superpoint.classification.study import DEFAULTS

    return load_config(ClassifierConfig, config, [*([] if config else DEFAULTS[name]), *(overrides or [])])


def _run_study(name: str, cells: list, out: Path | None) -> None:
    from superpoint.classification.study import run_study

    found = run_study(name, cells, out or Path(f"runs/study-{name}"))
    if isinstance(found, int):
        raise typer.Exit(128 + found)
