"""A folder with a sub-folder for each class, its images at any depth below it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from superpoint.classification.data.images import ClassImages
from superpoint.data.images import read_rgb
from superpoint.data.sources.source import EXTENSIONS, open_source
from superpoint.errors import UserError
from superpoint.files import natural_order


def read_class_folder(folder: str | Path) -> ClassImages:
    """The images of a folder, class by class, both in natural order. Hidden folders and files are passed over.

    Raises: UserError: no such folder; less than two sub-folders with images; a sub-folder without one.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder, expected one with a sub-folder of images for each class")
    hidden = (place for place in root.iterdir() if place.is_dir() and not place.name.startswith("."))
    places = sorted(hidden, key=lambda place: natural_order(place.name))
    if not places:
        raise UserError(f"{root}: found no sub-folder, expected one of images for each class")
    names: list[str] = []
    labels: list[int] = []
    for label, place in enumerate(places):
        found = images_below(place)
        if not found:
            raise UserError(f"{place}: found no image for class '{place.name}', expected {' '.join(EXTENSIONS)}")
        names += [f"{place.name}/{name}" for name in found]
        labels += [label] * len(found)
    if len(places) == 1:
        raise UserError(f"{root}: found one class only ('{places[0].name}'), expected at least two sub-folders")
    classes = [place.name for place in places]
    return ClassImages(names, np.array(labels, np.int64), classes, lambda number: read_rgb(root / names[number]))


def images_below(folder: Path) -> list[str]:
    """Paths of the images below a folder, relative to it, in natural order; empty if there is none."""
    try:
        source = open_source([str(folder)])
    except UserError:
        return []
    return list(getattr(source, "names", []))
