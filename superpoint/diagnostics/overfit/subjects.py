"""What stage overfit learns by heart: samples of the configuration, or one photograph.

The photograph and its points are kept in the run folder as training data of the kind `labelled`, where checks and
report find them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from superpoint.config import MagicPointConfig, PairDataConfig, SuperPointConfig
from superpoint.data.bands import ARRAY, read_image
from superpoint.data.feature_writer import save_features
from superpoint.data.label_files import read_points
from superpoint.data.labelled import LabelledImages, cover
from superpoint.data.samples import KeypointSamples, Scene
from superpoint.data.sources.photographs import LabelledPhotographs
from superpoint.data.training_set import demand_labels, training_pairs, training_samples
from superpoint.data.warped_pairs import WarpedPairs
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.models import load_network
from superpoint.models.extract import features
from superpoint.visualize import save_image, to_gray

DETECTOR = "magicpoint"  # pretrained weights that label a photograph that comes without labels
NAMED = 8  # samples, at most, that the description names
PHOTOGRAPH, FEATURES = "photograph.png", "photograph.h5"  # in the run folder


@dataclass(frozen=True)
class Subject:
    """The samples to learn, in words too; `keep` writes a photograph to the run folder."""

    dataset: KeypointSamples | WarpedPairs
    about: str
    keep: Callable[[], None] | None = None


def configured_samples(config: MagicPointConfig, index: int | None) -> Subject:
    """Return the samples of `config.data`, from scene or pair `index` on.

    Raises: UserError for a scene without labels, an index among photographs, labels that do not fit.
    """
    kind, joint = config.data.kind, isinstance(config.data, PairDataConfig)
    if index is not None and kind != "synthetic":
        raise UserError(f"--index {index}: found data.kind={kind}, expected synthetic: it is the number of a scene")
    demand_labels(config.data)
    if isinstance(config.data, PairDataConfig):
        dataset = training_pairs(config.data, config.seed, config.model.channels)
    else:
        dataset = training_samples(config.data, config.seed, config.model.channels)
    assert isinstance(dataset, (KeypointSamples, WarpedPairs))  # a mixture is refused with data.overfit
    names, what = list(map(str, dataset.repeated)), "pair" if joint else "scene"
    if index is not None and dataset.repeated[0] != index:
        where = "label in both views" if joint else "label"
        raise UserError(f"--index {index}: {what} {index} has no {where}, the next one that has is {names[0]}")
    of = f"of {config.data.labels}" if kind == "labelled" else f"of seed {config.seed}"
    if isinstance(dataset, LabelledImages) and isinstance(dataset.source, LabelledPhotographs):
        what, names = "photograph", [dataset.source.names[number] for number in dataset.repeated]
    plural, more = "s" if len(names) > 1 else "", ", ..." if len(names) > NAMED else ""
    return Subject(dataset, f"{what}{plural} {', '.join(names[:NAMED])}{more} {of}")


def single_photograph(
    config: MagicPointConfig, folder: Path, image: str | Path, labels: str | Path | None
) -> tuple[MagicPointConfig, Subject]:
    """Return `config` with the photograph as its data, where `Subject.keep` will write it, and the photograph.

    Args:
        config: with `data.overfit` = 1.
        folder: the run folder.
        image: of any size.
        labels: its points, see `read_points`; None = the detections of the pretrained network.

    Raises: UserError for files that cannot be used, and for a photograph without a point.
    """
    pixels, size = read_image(image, config.model.channels), (config.data.height, config.data.width)
    if labels is not None:
        points = read_points(labels, (pixels.shape[0], pixels.shape[1]))
        seen = len(cover(pixels, points, size)[1])
        if not seen:
            raise UserError(
                f"{labels}: none of its {len(points)} points is on the middle of {image} that fits {size[1]}x{size[0]}"
            )
        about = f"{Path(image).name}, labels: {seen} points of {labels}"
    else:
        pixels = cover(pixels, np.empty((0, 2), np.float32), size)[0]
        (found,) = features(load_network(DETECTOR), [to_gray(pixels)], config.decode)
        points = found.keypoints
        if not len(points):
            raise UserError(
                f"{image}: the pretrained {DETECTOR} finds no point in it, expected some; give points by --labels"
            )
        about = f"{Path(image).name}, labels: {len(points)} detections of the pretrained {DETECTOR}"
    # A full path, since checks may be started from anywhere.
    root = folder.resolve()
    data = replace(config.data, kind="labelled", labels=str(root / FEATURES), images=str(root))
    scene: Scene = (pixels, points, None)
    config, keep = replace(config, data=data), partial(_keep, folder, scene, about)
    if isinstance(config, SuperPointConfig):
        return config, Subject(WarpedPairs([scene], config.data, config.seed), f"two views of {about}", keep)
    return config, Subject(LabelledImages([scene], config.data, config.seed), about, keep)


def _keep(folder: Path, scene: Scene, about: str) -> None:
    image, points, _ = scene
    name, size = PHOTOGRAPH, (image.shape[1], image.shape[0])
    if image.ndim == 2 or image.shape[2] == 3:
        save_image(folder / name, image)
    else:
        name = Path(PHOTOGRAPH).stem + ARRAY
        np.save(folder / name, image)
    save_features(folder / FEATURES, {name: Features(points, image_size=size)}, {"source": about})
