"""A set of images with one class each; folders with a sub-folder per class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.data.images import read_rgb, resize_with_points
from superpoint.data.sources.source import EXTENSIONS, open_source
from superpoint.errors import UserError
from superpoint.files import natural_order

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class ClassImages:
    """Attributes:
    names: unique.
    labels: int64 [N], indices into `classes`.
    read: number of an image -> uint8 [H, W, 3] RGB or [H, W]; raises UserError if it cannot be decoded.
    skipped: (name, reason) of the images left out.
    """

    names: Sequence[str]
    labels: NDArray[np.int64]
    classes: Sequence[str]
    read: Callable[[int], Image]
    skipped: Sequence[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, chosen: Sequence[int] | NDArray[np.integer]) -> ClassImages:
        numbers = [int(number) for number in chosen]
        read, names = self.read, [self.names[number] for number in numbers]
        return replace(self, names=names, labels=self.labels[numbers], read=lambda number: read(numbers[number]))

    def counts(self) -> NDArray[np.int64]:
        """Return the number of images of each class, int64 [K]."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def loaded(self, shortest: int) -> ClassImages:
        """Return the images in memory, with a shorter side of at most `shortest` pixels.

        An image that is damaged or has less than 2 pixels a side is left out and named in `skipped`.
        """
        kept: list[Image] = []
        numbers, skipped = [], list(self.skipped)
        for number, name in enumerate(self.names):
            try:
                kept.append(shrink(self.read(number), shortest))
                numbers.append(number)
            except UserError as error:
                skipped.append((name, str(error)))
        return replace(self.subset(numbers), read=lambda number: kept[number], skipped=skipped)


def read_class_folder(folder: str | Path) -> ClassImages:
    """Open the images of a folder, class by class, in natural order. Hidden folders and files are passed over.

    Raises: UserError: no such folder; fewer than two sub-folders; a sub-folder without an image.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder, expected one with a sub-folder of images for each class")
    classes = [place.name for place in root.iterdir() if place.is_dir() and not place.name.startswith(".")]
    classes.sort(key=natural_order)
    if not classes:
        raise UserError(f"{root}: found no sub-folder, expected one of images for each class")
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = images_below(root / name)
        if not found:
            raise UserError(f"{root / name}: found no image for class '{name}', expected {' '.join(EXTENSIONS)}")
        names += [f"{name}/{image}" for image in found]
        labels += [label] * len(found)
    if len(classes) == 1:
        raise UserError(f"{root}: found one class only ('{classes[0]}'), expected at least two sub-folders")
    return ClassImages(names, np.array(labels, np.int64), classes, lambda number: read_rgb(root / names[number]))


def images_below(folder: Path) -> list[str]:
    """Return the relative paths of the images below a folder, in natural order."""
    try:
        return list(getattr(open_source([str(folder)]), "names", []))
    except UserError:
        return []


def shrink(image: Image, shortest: int) -> Image:
    """Make the shorter side at most `shortest` pixels. Raises: UserError, less than 2 pixels a side."""
    height, width = image.shape[:2]
    if min(height, width) < 2:
        raise UserError(f"found {width} x {height} pixels, expected at least 2 x 2")
    return image if min(height, width) <= shortest else resize_shorter(image, shortest)


def resize_shorter(image: Image, shortest: float) -> Image:
    """Resize so that the shorter side has `shortest` pixels, rounded; the shape is kept."""
    height, width = image.shape[:2]
    scale, low = shortest / min(height, width), round(shortest)
    return resize(image, (max(low, round(height * scale)), max(low, round(width * scale))))


def resize(image: Image, size: tuple[int, int]) -> Image:
    if image.shape[:2] == size:
        return image
    resized, _ = resize_with_points(np.ascontiguousarray(image), np.empty((0, 2), np.float32), size)
    return resized.reshape(*size, *image.shape[2:])


def in_channels(image: Image, channels: int) -> Image:
    """Return uint8 [H, W, C] with C = 3 or 1; grey levels are the luma of ITU-R BT.601."""
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None]
