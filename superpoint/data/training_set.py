"""What a run is trained on and what it is validated on, by `data.kind`."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from superpoint.config import DataConfig
from superpoint.data.labelled import LabelledImages, cover
from superpoint.data.labels import LabelFile, LabelledPhotographs
from superpoint.data.mixture import Mixture
from superpoint.data.samples import PointSamples, SyntheticShapes
from superpoint.errors import UserError


def training_samples(config: DataConfig, seed: int) -> PointSamples | Mixture:
    """The training samples of a configuration, pure functions of (seed, index).

    Raises: UserError if the labels or the images of `data.kind` labelled or mixed are missing or do not fit.
    """
    if config.kind == "synthetic":
        return SyntheticShapes(config, seed)
    photographs = LabelledImages(_photographs(config, held_out=False), config, seed)
    if config.kind == "labelled":
        return photographs
    return Mixture(SyntheticShapes(config, seed), photographs, config.labelled_share)


def held_out_photographs(config: DataConfig, most: int) -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Up to `most` of the photographs that `training_samples` leaves out, cut about their centre to the wanted size.

    With `config.overfit` the photographs that are overfitted instead, since success is to reproduce these.
    """
    if config.overfit:
        samples = LabelledImages(_photographs(config, held_out=False), config, 0)
        return [samples.draw(index)[:2] for index in range(config.overfit)]
    source = _photographs(config, held_out=True)
    size = (config.height, config.width)
    return [cover(*source[index], size) for index in range(min(most, len(source)))]


def _photographs(config: DataConfig, *, held_out: bool) -> LabelledPhotographs:
    assert config.labels is not None
    assert config.images is not None
    labels = LabelFile(config.labels)
    chosen = split_names(labels.names(), config.holdout)[1 if held_out else 0]
    return LabelledPhotographs(labels, config.images, chosen)


def split_names(names: Sequence[str], holdout: float) -> tuple[list[str], list[str]]:
    """Names to train on and names held out: about the share `holdout`, at least one, and not all.

    Which ones follows from the names alone, so a photograph stays on its side when others are added.
    Raises: UserError for fewer than two names.
    """
    if len(names) < 2:
        raise UserError(f"labels: found {len(names)} labelled image(s), expected at least 2: one is held out")
    place = {name: zlib.crc32(name.encode("utf-8", "surrogateescape")) / 2**32 for name in names}
    held = {name for name in names if place[name] < holdout} or {min(names, key=lambda name: place[name])}
    if len(held) == len(names):
        held.remove(max(names, key=lambda name: place[name]))
    return [name for name in names if name not in held], [name for name in names if name in held]
