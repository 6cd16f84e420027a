"""What a run is trained on and what it is validated on, by `data.kind`."""

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from superpoint.config import DataConfig, PairDataConfig
from superpoint.data.feature_file import FeatureFile
from superpoint.data.labelled import LabelledImages
from superpoint.data.masks import Mask
from superpoint.data.mixture import Mixture
from superpoint.data.samples import KeypointSamples, SyntheticShapes, valid_pixels
from superpoint.data.sources.photographs import LabelledPhotographs
from superpoint.data.synthetic import ShapeGenerator
from superpoint.data.warped_pairs import SingleViews, SyntheticScenes, WarpedPairs
from superpoint.errors import UserError
from superpoint.geometry.cells import DUSTBIN

DRAWN = 1000  # samples at most that are looked through for a label before a training


def training_samples(config: DataConfig, seed: int, channels: int = 1) -> KeypointSamples | Mixture | SingleViews:
    """Return the training samples; of pairs, their single views. Raises: UserError if labels or images do not fit."""
    if isinstance(config, PairDataConfig):
        return SingleViews(training_pairs(config, seed, channels))
    if config.kind == "synthetic":
        return SyntheticShapes(config, seed, channels)
    photographs = LabelledImages(_photographs(config, channels, held_out=False), config, seed)
    if config.kind == "labelled":
        return photographs
    return Mixture(SyntheticShapes(config, seed, channels), photographs, config.labelled_share)


def training_pairs(config: PairDataConfig, seed: int, channels: int = 1) -> WarpedPairs:
    """Return the training pairs. Raises: UserError if labels or images do not fit."""
    return _pairs(config, seed, channels, held_out=False)


def held_out_pairs(config: PairDataConfig, seed: int, channels: int = 1) -> WarpedPairs:
    """Return pairs, as at the end of training, of what `training_pairs` leaves out (shapes: drawn by `seed`)."""
    return _pairs(replace(config, curriculum=0), seed, channels, held_out=True)


def _pairs(config: PairDataConfig, seed: int, channels: int, *, held_out: bool) -> WarpedPairs:
    if config.kind == "labelled":
        mixed = channels == 1 and config.photometric.colour_mix > 0
        photographs = _photographs(config, 3 if mixed else channels, held_out=held_out)
        return WarpedPairs(photographs, config, seed, grey=mixed)
    generator = ShapeGenerator(config.synthetic, config.height, config.width, seed, channels)
    return WarpedPairs(SyntheticScenes(generator), config, seed)


def held_out_photographs(
    config: DataConfig, count: int, channels: int = 1
) -> list[tuple[NDArray[np.uint8], NDArray[np.float32], Mask]]:
    """Return up to `count` photographs that training leaves out, cropped, their points, and the pixels that count.

    With `config.overfit`, those overfitted.
    """
    samples = LabelledImages(_photographs(config, channels, held_out=not config.overfit), config, 0)
    numbers = samples.repeated or range(min(count, len(samples.source)))
    scenes = (samples.still(number) for number in numbers)
    return [(image, points, valid_pixels(image, mask)) for image, points, mask in scenes]


def held_out_source(config: DataConfig, channels: int = 1) -> LabelledPhotographs:
    """Return the photographs that training leaves out, at their own size, with their labels."""
    return _photographs(config, channels, held_out=True)


def demand_labels(config: DataConfig) -> None:
    """Raise UserError if no label of the training photographs reaches `config.label_threshold`.

    Reads no image, and labels up to the first label that is left.
    """
    if config.kind == "synthetic":
        return
    labels, names = _labels(config, held_out=False)
    count, highest = 0, 0.0
    for name in names:
        scores = labels.read(name, descriptors=False).scores
        if (scores >= config.label_threshold).any():
            return
        count, highest = count + len(scores), max(highest, float(scores.max(initial=0)))
    if not count:
        raise UserError(
            f"data.labels={config.labels}: found {len(names)} training images and no label on them; make labels with a "
            "lower decode.threshold, or by another network"
        )
    raise UserError(
        f"data.label_threshold={config.label_threshold:g} leaves none of {count} labels in {config.labels}; the "
        f"highest score is {highest:.4g}"
    )


def demand_targets(config: DataConfig, samples: Dataset[dict[str, torch.Tensor]]) -> None:
    """Raise UserError if none of DRAWN training samples has a label: all lie outside the images, or under masks."""
    for index in range(DRAWN):
        sample = samples[index]
        for view in ("", "_a", "_b"):
            if f"target{view}" in sample and ((sample[f"target{view}"] != DUSTBIN) & sample[f"valid{view}"]).any():
                return
    key = "data.synthetic.primitives" if config.kind == "synthetic" else f"data.labels={config.labels}"
    raise UserError(
        f"{key}: none of the first {DRAWN} samples has a label within its {config.width}x{config.height} pixels and "
        "its mask, expected some"
    )


def _photographs(config: DataConfig, channels: int, *, held_out: bool) -> LabelledPhotographs:
    assert config.images is not None
    labels, chosen = _labels(config, held_out=held_out)
    return LabelledPhotographs(labels, config.images, chosen, config.label_threshold, config.masks, channels)


def _labels(config: DataConfig, *, held_out: bool) -> tuple[FeatureFile, list[str]]:
    """Return the label file, and the names of its training or held-out photographs."""
    assert config.labels is not None
    labels = FeatureFile(config.labels)
    chosen = labels.names()
    if not chosen:
        raise UserError(f"data.labels={config.labels}: holds no labels ({len(labels.skipped())} images were skipped)")
    if held_out or not config.overfit:  # to overfit, any photograph will do, even the only one
        chosen = split_names(chosen, config.holdout)[1 if held_out else 0]
    return labels, chosen


def split_names(names: Sequence[str], holdout: float) -> tuple[list[str], list[str]]:
    """Split names into training and held-out ones: about the share `holdout`, at least one of each.

    A name stays on its side when others are added. Raises: UserError below two names.
    """
    if len(names) < 2:
        raise UserError(f"labels: found {len(names)} labelled image(s), expected at least 2: one is held out")
    draw = {name: zlib.crc32(name.encode("utf-8", "surrogateescape")) / 2**32 for name in names}
    held = {name for name in names if draw[name] < holdout} or {min(names, key=draw.__getitem__)}
    if len(held) == len(names):
        held.remove(max(names, key=draw.__getitem__))
    return [name for name in names if name not in held], [name for name in names if name in held]
