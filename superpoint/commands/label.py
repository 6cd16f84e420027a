"""Commands that make labels and look at them."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Argument, Option

from superpoint.budget import Budget
from superpoint.commands.command import LABEL, Outcome, command, subgroup
from superpoint.commands.options import MaskFolder, Model, Overwrite, Resume, Root, check_path, ends_in
from superpoint.config import LabellingConfig, load_config
from superpoint.errors import UserError

labels = subgroup("labels", LABEL, "Look into a feature file, ours or hloc's; make one of others' labels.")
H5 = ends_in(".h5", ".hdf5")
FeatureFile = Annotated[Path, Argument(help="feature file, or folder of shards"), check_path]


def labelling_config(file: str | None, overrides: list[str], options: dict[str, Any]) -> LabellingConfig:
    """Return the settings of an export by the network of --model; `adaptation=none` stands for no views."""
    for text in overrides:
        if text.startswith("adaptation=") and text != "adaptation=none":
            raise UserError(f"{text}: expected adaptation=none, or adaptation.KEY=VALUE")
        if text.startswith("weights="):
            raise UserError(f"{text}: give the network by --model {text.removeprefix('weights=')}")
    overrides = ["adaptation.homographies=0" if text == "adaptation=none" else text for text in overrides]
    return replace(load_config(LabellingConfig, file, overrides), weights=options.pop("model"))


@command("export-detections", LABEL, config=labelling_config, inputs=True)
def export_detections_command(
    settings: LabellingConfig,
    images: list[str],
    out: Annotated[Path | None, Option(help="The feature file to write (.h5). [required]"), H5] = None,
    model: Model = "magicpoint",  # part of `settings`
    root: Root = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    budget: Budget | None = None,
) -> Outcome:
    """Detect keypoints on images, by homographic adaptation or (adaptation=none) plainly, and write them to one file.

    superpoint export-detections photos --out labels.h5 --minutes 20
    superpoint export-detections photos --out features.h5 --model runs/lite adaptation=none resize=1024
    """
    if out is None:
        raise UserError("--out: expected the feature file to write, e.g. --out labels.h5")
    from superpoint.labelling.export import export_detections

    result = export_detections(settings, images, out, root=root, resume=resume, overwrite=overwrite, budget=budget)
    return Outcome(signal=result.signal)


@command("import", labels)
def labels_import_command(
    source: Annotated[Path, Argument(help="folder of .txt, .csv, .npy, .npz, COCO's .json; or one such"), check_path],
    out: Annotated[Path, Option(help="The feature file to write (.h5)."), H5],
    images: Annotated[Path | None, Option(help="Folder of the images: checks names and sizes."), check_path] = None,
    order: Annotated[Literal["xy", "yx"], Option(help="Order of the coordinates; yx = row, column.")] = "xy",
    offset: Annotated[
        float, Option(help="Coordinate of the centre of the first pixel: 0 (COCO), 0.5 (COLMAP) or 1 (MATLAB).")
    ] = 0.0,
    frame: Annotated[
        Literal["stored", "upright"], Option(help="What was labelled: pixels as stored, or turned by EXIF.")
    ] = "stored",
    overwrite: Overwrite = False,  # checked with the other arguments
) -> None:
    """Make a feature file of labels from outside.

    A file per image (1.jpg.txt, 1.csv, 1.npz), a CSV with a column of images, or COCO's keypoints. Text has a point per
    line: x y, or x y score.

    superpoint labels import annotations --out labels.h5 --images photos
    """
    from superpoint.labelling.imports import import_labels

    import_labels(source, out, images=images, offset=offset, swapped=order == "yx", frame=frame)


@command("info", labels)
def labels_info_command(file: FeatureFile) -> None:
    """Show keypoints per image, their placement, settings, skipped images, alarms.

    superpoint labels info labels.h5
    """
    from superpoint.labelling.show import labels_info

    labels_info(file)


@command("show", labels)
def labels_show_command(
    file: FeatureFile,
    images: Annotated[Path, Argument(help="folder (or HDF5 file) of the images")],
    out: Annotated[Path, Option(help="The PNG to write."), ends_in(".png")] = Path("labels.png"),
    masks: MaskFolder = None,
    count: Annotated[int, Option(min=1, max=400, help="Number of images, evenly chosen.")] = 16,
    columns: Annotated[int, Option(min=1, max=40, help="Columns of the sheet.")] = 4,
) -> None:
    """Draw a contact sheet of images with their keypoints, coloured by score.

    superpoint labels show labels.h5 photos --out labels.png
    """
    from superpoint.labelling.show import labels_show

    labels_show(file, images, out, masks=masks, count=count, columns=columns)


@command("check", labels)
def labels_check_command(file: FeatureFile) -> Outcome:
    """Check a feature file for damage, wrong shapes and impossible values; exit code 1 if it has any.

    superpoint labels check labels.h5
    """
    from superpoint.labelling.show import labels_check

    return Outcome(failed=bool(labels_check(file)))


@command("list-classes", LABEL)
def list_classes_command(
    folder: Annotated[Path, Argument(help="with a sub-folder of images for each class"), check_path],
    out: Annotated[Path, Option(help="The CSV to write: path,label,split.")] = Path("classes.csv"),
    test_share: Annotated[float, Option(min=0.01, max=0.9, help="Share of each class that is test.")] = 0.2,
    seed: Annotated[int, Option(min=0, help="Seed of the order and the split.")] = 0,
) -> None:
    """Write the list of the images of a folder, shuffled and split into training and test images.

    superpoint list-classes photos --out pets.csv
    """
    from superpoint.classification.data.csv_list import write_csv_list

    counts = write_csv_list(folder, out, test_share=test_share, seed=seed)
    typer.echo(f"{out}: {counts['train']} training and {counts['test']} test images")
