"""What stage overfit learns by heart: scenes or labelled photographs of the configuration, or one photograph alone.

That photograph goes into the run folder with its points, as training data of the kind `labelled`: the configuration
kept there then names what has been learnt, and checks and report see it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from superpoint.config import DataConfig, MagicPointConfig
from superpoint.data.feature_writer import save_features
from superpoint.data.images import read_gray
from superpoint.data.labelled import LabelledImages, cover, read_points
from superpoint.data.samples import PointSamples, Scene
from superpoint.data.sources.photographs import LabelledPhotographs
from superpoint.data.training_set import training_samples
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.models import load_network
from superpoint.models.extract import features
from superpoint.visualize import save_image

DETECTOR = "magicpoint"  # pretrained weights that label a photograph that comes without labels
NAMED = 8  # samples, at most, that the description names
PHOTOGRAPH, FEATURES = "photograph.png", "photograph.h5"  # in the run folder


@dataclass(frozen=True)
class Subject:
    """The samples to learn; what they are in words; what writes the photograph to the run folder, if it is one."""

    dataset: PointSamples
    about: str
    keep: Callable[[], None] | None = None


def configured_samples(config: MagicPointConfig, index: int | None) -> Subject:
    """Those of `config.data`, from scene `index` on if that is not None.

    Raises: UserError for a scene without labels, an index among photographs, labels that do not fit.
    """
    kind = config.data.kind
    if index is not None and kind != "synthetic":
        raise UserError(f"--index {index}: found data.kind={kind}, expected synthetic: it is the number of a scene")
    dataset = training_samples(config.data, config.seed)
    assert isinstance(dataset, PointSamples)  # a mixture is refused with data.overfit
    numbers, more = dataset.repeated[:NAMED], ", ..." if len(dataset.repeated) > NAMED else ""
    ending = "s" if len(dataset.repeated) > 1 else ""
    if isinstance(dataset, LabelledImages) and isinstance(dataset.source, LabelledPhotographs):
        names = ", ".join(dataset.source.names[number] for number in numbers)
        return Subject(dataset, f"photograph{ending} {names}{more} of {config.data.labels}")
    if index is not None and numbers[0] != index:
        raise UserError(f"--index {index}: scene {index} has no label, the next one that has is {numbers[0]}")
    return Subject(dataset, f"scene{ending} {', '.join(map(str, numbers))}{more} of seed {config.seed}")


def single_photograph(
    config: MagicPointConfig, folder: Path, image: str | Path, labels: str | Path | None
) -> tuple[MagicPointConfig, Subject]:
    """The photograph `image`, and the configuration that names it where `Subject.keep` will write it.

    Args:
        config: with `data.overfit` = 1, and of any `data.kind`.
        folder: the run folder.
        image: any file that `read_gray` reads, of any size.
        labels: its points, see `read_points`; None = the detections of the pretrained network.

    Raises: UserError for files that cannot be used, and for a photograph without a point.
    """
    gray, size = read_gray(image), (config.data.height, config.data.width)
    if labels is not None:
        points = read_points(labels, (gray.shape[0], gray.shape[1]))
        seen = len(cover(gray, points, size)[1])
        if not seen:
            raise UserError(
                f"{labels}: none of its {len(points)} points is on the middle of {image} that fits {size[1]}x{size[0]}"
            )
        about = f"{Path(image).name}, labels: {seen} points of {labels}"
    else:
        gray, _ = cover(gray, np.empty((0, 2), np.float32), size)
        points = _detect(config, gray)
        if not len(points):
            raise UserError(
                f"{image}: the pretrained {DETECTOR} finds no point in it, expected some; give points by --labels"
            )
        about = f"{Path(image).name}, labels: {len(points)} detections of the pretrained {DETECTOR}"
    config = replace(config, data=_data_in(folder.resolve(), config.data))
    dataset = LabelledImages([(gray, points)], config.data, config.seed)
    return config, Subject(dataset, about, partial(_keep, folder, (gray, points), about))


def _detect(config: MagicPointConfig, gray: np.ndarray) -> np.ndarray:
    """Points float32 [N, 2] of the pretrained network on an image uint8 [H, W]."""
    (found,) = features(load_network(DETECTOR), [gray], config.decode)
    return found.keypoints


def _data_in(folder: Path, data: DataConfig) -> DataConfig:
    """`data` of the photograph kept in `folder`; a full path, since checks may be started from anywhere."""
    return replace(data, kind="labelled", labels=str(folder / FEATURES), images=str(folder))


def _keep(folder: Path, scene: Scene, about: str) -> None:
    image, points = scene
    save_image(folder / PHOTOGRAPH, image)
    size = (image.shape[1], image.shape[0])
    save_features(folder / FEATURES, {PHOTOGRAPH: Features(points, image_size=size)}, {"source": about})
