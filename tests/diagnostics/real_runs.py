"""Short real runs that go wrong on purpose: what the training stage leaves behind, read as the doctor reads it."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

import superpoint.training.magicpoint as stage
from superpoint.config import MagicPointConfig, load_config
from superpoint.data.samples import SyntheticShapes
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.reading import read_case
from superpoint.engine import make_fabric
from superpoint.errors import UserError
from superpoint.models import build_model
from superpoint.training.detector_validation import DetectorValidation
from tests.conftest import TINY_TRAINING

SETTINGS = [
    *TINY_TRAINING, "data.curriculum=0", "train.batch_size=4", "train.precision=fp32", "train.ema=0",
    "train.probe_every=0",
]  # fmt: skip


def train(
    folder: Path, *overrides: str, dataset: type[SyntheticShapes] = SyntheticShapes, validate: Any = None
) -> Path:
    """Train a tiny detector, by default without a real validation; return its run folder."""
    config = load_config(MagicPointConfig, None, [*SETTINGS, f"run={folder}", *overrides])
    validate = validate or (lambda model: {"selected_by": "AP", "AP": 0.0})
    stage.fit_detector(config, make_fabric(config.train), dataset(config.data, config.seed), validate)
    return folder


def run(folder: Path, *overrides: str, **parts: Any) -> Case:
    with contextlib.suppress(UserError):
        train(folder, *overrides, **parts)
    return read_case(folder)


class TwoImages(SyntheticShapes):
    """Two samples of the rest, never augmented."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return super().__getitem__((1, 3)[index % 2])


def two_images(folder: Path) -> Case:
    overrides = ("train.steps=120", "train.validate_every=40", "optimizer.lr=6e-3", "train.batch_size=2")
    validate = DetectorValidation(load_config(MagicPointConfig, None, [*SETTINGS, "train.steps=1"]))
    return run(folder, *overrides, dataset=TwoImages, validate=validate)


def careless_head(folder: Path) -> Case:
    """The last layer is drawn from a normal distribution of deviation 1, not of 0.01."""

    def careless(config: Any, seed: int = 0, **more: Any) -> nn.Module:
        model = build_model(config, seed, **more)
        nn.init.normal_(model.detector.logits.weight, std=1.0, generator=torch.Generator().manual_seed(0))
        return model

    with patch.object(stage, "build_model", careless):
        return run(folder, "train.steps=4")


SGD = ("optimizer.name=sgd", "optimizer.momentum=0.9")
RUNS: dict[str, Callable[[Path], Case]] = {
    "learns": lambda folder: run(folder, "train.steps=80", "optimizer.lr=6e-3", "schedule.name=constant"),
    "momentum": lambda folder: run(folder, "train.steps=40", *SGD, "optimizer.lr=30", "train.clip_norm=0"),
    "clipped": lambda folder: run(folder, "train.steps=20", *SGD, "optimizer.lr=10", "train.clip_norm=1"),
    "adam": lambda folder: run(folder, "train.steps=60", "optimizer.lr=0.1"),
    "tiny_rate": lambda folder: run(folder, "train.steps=120", "optimizer.lr=1e-7", "schedule.name=constant"),
    "nan": lambda folder: run(
        folder, "train.steps=60", "train.log_every=20", *SGD, "optimizer.lr=1e9", "train.clip_norm=0"
    ),
    "careless_head": careless_head,
    "two_images": two_images,
    # Healthy: from pretrained weights, which are of 128 channels, at the rate of a fine-tuning.
    "fine_tune": lambda folder: run(
        folder, "train.steps=60", "weights=magicpoint-lite", "model.head_channels=128", "optimizer.lr=3e-4",
        "data.height=64", "data.width=96",
    ),
}  # fmt: skip
