"""From a configuration to the images of a run, and to the samples that the loop draws from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from superpoint.classification.config import ClassAugmentConfig, ClassDataConfig
from superpoint.classification.data.csv_list import read_csv_list, split_numbers
from superpoint.classification.data.idx import is_idx, read_idx_pair
from superpoint.classification.data.images import ClassImages, in_channels, read_class_folder
from superpoint.classification.data.transforms import evaluation_views, training_view
from superpoint.engine.display import watch
from superpoint.errors import UserError

MEASURED = 2000  # training images whose colours are measured
STORED = 2  # images in memory have a shorter side of at most so many times the crop's longer one
EXPECTED = (
    "a folder with a sub-folder a class, a list .csv, or an IDX file of images such as train-images-idx3-ubyte.gz"
)


@dataclass(frozen=True)
class ClassifierInput:
    """Input size, normalisation and classes of a network; kept with the weights.

    Attributes:
        classes: names, in the order of the logits.
        mean, deviation: per channel, for values 0..1: the network gets (value - mean) / deviation.
        test_resize, test_crops: see `config.ClassAugmentConfig`.
    """

    classes: list[str]
    height: int
    width: int
    channels: int
    mean: list[float]
    deviation: list[float]
    test_resize: float = 1.15
    test_crops: int = 1

    @classmethod
    def from_json(cls, content: Any, source: str | Path) -> ClassifierInput:
        """Take the fields of `content`. Raises: UserError if it lacks one."""
        names = list(cls.__dataclass_fields__)
        if not isinstance(content, dict) or not all(name in content for name in names):
            raise UserError(f"{source}: found no classes and no preprocessing, expected what train-classifier writes")
        return cls(**{name: content[name] for name in names})

    def prepare(self, views: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(views, -1, -3)))

    def normalise(self, image: Tensor) -> Tensor:
        """Return uint8 [B, C, H, W] as float32, on its device."""
        shape = (1, -1, 1, 1)
        mean = torch.tensor(self.mean, device=image.device).view(shape)
        deviation = torch.tensor(self.deviation, device=image.device).view(shape)
        return (image.float() / 255 - mean) / deviation

    def views(self, image: NDArray[np.uint8]) -> Tensor:
        """Return the test views of an image [H, W, 3] or [H, W], uint8 [V, C, H, W]."""
        image, size = in_channels(image, self.channels), (self.height, self.width)
        return self.prepare(evaluation_views(image, size, self.test_resize, self.test_crops))


def open_images(config: ClassDataConfig, seed: int) -> tuple[ClassImages, ClassImages]:
    """Open the training and test images of a run, without reading them.

    Raises: UserError: no data named, unusable data, other classes in test, a limit that leaves a class empty.
    """
    if config.train is None:
        raise UserError(f"data.train: found nothing, expected {EXPECTED}")
    found = _open(config.train, config.train_labels, "data.train", config)
    if config.test is not None:
        train = next(iter(found.values())) if len(found) == 1 else found["train"]
        others = _open(config.test, config.test_labels, "data.test", replace(config, classes=list(train.classes)))
        test = others.get("test") or next(iter(others.values()))
        if list(test.classes) != list(train.classes):
            raise UserError(
                f"data.test={config.test}: found the classes {_few(test.classes)}, expected those of the training "
                f"images: {_few(train.classes)}"
            )
    elif {"train", "test"} <= set(found):
        train, test = found["train"], found["test"]
    else:
        images = next(iter(found.values()))
        parts = split_numbers(images.labels, config.test_share, seed)
        train, test = (images.subset(part) for part in parts)
    train, test = _limited(train, config.limit, seed), _limited(test, config.test_limit, seed + 1)
    for images, key in ((train, "data.train"), (test, "data.test")):
        if not len(images):
            raise UserError(f"{key}: found no image in this part, expected at least one")
    absent = [name for name, count in zip(train.classes, train.counts(), strict=True) if count == 0]
    if absent:
        raise UserError(
            f"data.train={config.train}: found no training image of {_few(absent)} among {len(train)}, expected at "
            "least one of each class (data.limit, data.test_share)"
        )
    return train, test


def _open(path: str, labels: str | None, key: str, config: ClassDataConfig) -> dict[str, ClassImages]:
    place = Path(path)
    if place.is_dir():
        return {"": read_class_folder(place)}
    if not place.exists():
        raise UserError(f"{key}={path}: no such file or folder, expected {EXPECTED}")
    if place.suffix.lower() == ".csv":
        return read_csv_list(place, config.root, config.classes)
    if not is_idx(place):
        raise UserError(f"{key}={path}: found a file of another kind, expected {EXPECTED}")
    pixels, targets = read_idx_pair(place, labels)
    count = int(targets.max()) + 1 if config.classes is None else len(config.classes)
    if targets.min() < 0 or targets.max() >= count:
        wrong = int(np.flatnonzero((targets < 0) | (targets >= count))[0])
        raise UserError(f"{key}={path}: image {wrong} has label {targets[wrong]}, expected 0 to {count - 1}")
    if count < 2 or len(np.unique(targets)) < 2 <= len(targets):
        raise UserError(f"{key}={path}: found one class only ({targets[0]}), expected at least two")
    classes = list(config.classes) if config.classes is not None else [str(number) for number in range(count)]
    names = [f"{place.name}:{number}" for number in range(len(targets))]
    return {"": ClassImages(names, targets, classes, lambda number: pixels[number])}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f", ... ({len(names)})" if len(names) > 6 else "")


def _limited(images: ClassImages, limit: int, seed: int) -> ClassImages:
    if not limit or limit >= len(images):
        return images
    return images.subset(np.sort(np.random.default_rng([seed, 2]).permutation(len(images))[:limit]))


def load_images(config: ClassDataConfig, images: ClassImages) -> ClassImages:
    """Read images into memory if they are few enough; leave out what cannot be decoded.

    Raises: UserError if nothing is left, or a class of the training images is empty.
    """
    if len(images) > config.in_memory:
        return images
    loaded = images.loaded(STORED * max(config.height, config.width))
    lost = np.flatnonzero((images.counts() > 0) & (loaded.counts() == 0))
    if len(lost) or not len(loaded):
        name, reason = loaded.skipped[0]
        raise UserError(
            f"class '{images.classes[int(lost[0])]}': none of its images can be used, for instance {name}: {reason}"
        )
    return loaded


def measure_input(images: ClassImages, config: ClassDataConfig, augment: ClassAugmentConfig) -> ClassifierInput:
    """Measure mean and deviation per channel."""
    chosen = np.linspace(0, len(images) - 1, min(len(images), MEASURED)).round().astype(int)
    moments = []  # every image counts the same, whatever its size
    for number in watch(chosen.tolist(), "colours of the images"):
        pixels = in_channels(readable(images, number)[1], config.channels).reshape(-1, config.channels) / 255
        moments.append((pixels.mean(axis=0), np.square(pixels).mean(axis=0)))
    mean, square = np.mean(moments, axis=0)
    deviation = np.sqrt((square - mean**2).clip(min=0))
    deviation = np.where(deviation > 1e-3, deviation, 1.0)  # a channel that is the same everywhere
    shown = mean if config.normalise != "none" else np.zeros(config.channels)
    scale = deviation if config.normalise == "standard" else np.ones(config.channels)
    return ClassifierInput(
        list(images.classes), config.height, config.width, config.channels,
        shown.round(6).tolist(), scale.round(6).tolist(), augment.test_resize, augment.test_crops,
    )  # fmt: skip


def readable(images: ClassImages, number: int) -> tuple[int, NDArray[np.uint8]]:
    """Read image `number` or the next readable one; return its number too. Raises: UserError after ten tries."""
    reason = UserError("no image")
    for step in range(10):
        place = (number + step) % len(images)
        try:
            return place, images.read(place)
        except UserError as error:
            reason = error
    raise UserError(f"ten images in a row cannot be read; the last: {reason}")


class TrainingImages(Dataset[dict[str, Tensor]]):
    """The training data: dataset[index] is a pure function of (seed, index).

    Pass `index // N` over the N images has its own order. Items: image uint8 [C, H, W], label int64, index int64.
    """

    def __init__(
        self,
        images: ClassImages,
        spec: ClassifierInput,
        augment: ClassAugmentConfig,
        seed: int,
    ) -> None:
        self.images, self.spec, self.augment, self.seed = images, spec, augment, seed
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def number(self, index: int) -> int:
        epoch, place = divmod(index, len(self.images))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, 3, epoch]).permutation(len(self.images))
        return int(self._order[1][place])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number, pixels = readable(self.images, self.number(index))
        rng = np.random.default_rng([self.seed, 4, index])
        size = self.spec.height, self.spec.width
        view = training_view(in_channels(pixels, self.spec.channels), size, self.augment, rng)
        label = int(self.images.labels[number])
        return {"image": self.spec.prepare(view), "label": torch.tensor(label), "index": torch.tensor(index)}
