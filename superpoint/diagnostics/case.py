"""The parts of a training run that checks look at."""

from __future__ import annotations

import functools
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from superpoint.config import MagicPointConfig
from superpoint.data.labelled import LabelSource
from superpoint.data.training_set import training_samples
from superpoint.errors import UserError
from superpoint.losses import INITIAL_DETECTOR_LOSS
from superpoint.models import build_model
from superpoint.training.objectives import detector_objective

Sample = dict[str, Tensor]
CRASH = re.compile(r"nonfinite_step_(\d+)\.pt")
RANGE_HEIGHT, RANGE_WIDTH = 120, 160  # larger images are drawn no larger: the rate hardly depends on their size
C = TypeVar("C", bound="Case")
T = TypeVar("T")


class Labelled(Protocol):
    """A data set that can also show its samples before they are encoded."""

    def __getitem__(self, index: int) -> Sample:
        """Return image uint8 [C, H, W], target int64 [H / 8, W / 8], valid bool [H / 8, W / 8]."""
        ...

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return image uint8, points float32 [N, 2] (x, y), valid mask bool [H, W] of the sample."""
        ...


@dataclass(frozen=True)
class Case:
    """What the checks look at.

    Attributes:
        dataset: the training data, augmented at full strength.
        model: the network with the trained weights (not their average), in evaluation mode, on the CPU. A check
            restores the modes and hooks that it changes.
        objective: called as objective(model, batch), see `engine.loop.train`.
        history: the lines of metrics.jsonl, oldest first.
        photographs: of the data, before augmentation; None if there are none.
        rate_curve: learning rates and smoothed losses of a range test, if made.
    """

    config: MagicPointConfig
    dataset: Labelled
    model: nn.Module
    objective: Callable[[nn.Module, Sample], dict[str, Tensor]]
    history: list[dict[str, Any]] = field(default_factory=list)
    photographs: LabelSource | None = None
    folder: Path | None = None
    rate_curve: tuple[list[float], list[float]] | None = None

    @property
    def chance(self) -> float:
        """Return the loss of even odds."""
        return INITIAL_DETECTOR_LOSS

    def fresh(self, init: str | None = None, *, pretrained: bool = False) -> nn.Module:
        """Return the network before its first step, drawn from the seed.

        init: another initialisation. pretrained: load the encoder's ImageNet weights, if the run did.
        """
        settings = self.config.model if init is None else replace(self.config.model, init=init)
        model = build_model(settings, self.config.seed, pretrained=pretrained)
        getattr(self.objective, "initialise", detector_objective(self.config).initialise)(model.detector)
        return model

    def range_data(self) -> Any:
        """Return the training data of a range test: small images without curriculum."""
        data = self.config.data
        height, width = min(data.height, RANGE_HEIGHT), min(data.width, RANGE_WIDTH)
        small = replace(data, curriculum=0, height=height, width=width, workers=0)
        return training_samples(small, self.config.seed, self.config.model.channels)

    def samples(self, count: int, first: int | None = None) -> list[Sample]:
        """Return samples of the training data; by default from after its curriculum."""
        start = self.config.data.curriculum if first is None else first
        return [self.dataset[start + index] for index in range(count)]

    def batch(self, count: int) -> Sample:
        """Return samples as one batch: image [B, C, H, W], target and valid [B, H / 8, W / 8]."""
        samples = self.samples(count)
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}

    def events(self, name: str) -> list[Mapping[str, Any]]:
        """Return the lines of one event: train, validate, probe, initial_loss, nonfinite, ..."""
        return [entry for entry in self.history if entry["event"] == name]

    @property
    def steps(self) -> int:
        return max((int(entry.get("step", 0)) for entry in self.history), default=0)

    @property
    def ended_by(self) -> Mapping[str, Any] | None:
        """Return the line about the loss or gradient that ended the run by not being finite."""
        return self.history[-1] if self.history and self.history[-1]["event"] == "nonfinite" else None

    def last_crash(self) -> Crash | None:
        if self.folder is None or self.ended_by is None:
            return None
        path = self.folder / str(self.ended_by.get("file"))
        return read_crash(path) if path.is_file() else None


def kept(measure: Callable[[C], T]) -> Callable[[C], T]:
    """Measure once per case."""
    key = f"_{measure.__module__}.{measure.__name__}"

    @functools.wraps(measure)
    def remembered(case: C) -> T:
        if key not in vars(case):  # not a field: `dataclasses.replace` leaves it behind, as it should
            vars(case)[key] = measure(case)
        return vars(case)[key]

    return remembered


@dataclass(frozen=True)
class Crash:
    """The step at which a run's loss or gradient was not finite, see `models.checkpoint.write_nonfinite`.

    step: updates done before. weights: parameters before the step; batch-norm statistics already include it.
    """

    path: Path
    step: int
    loss: float
    weights: dict[str, Tensor]


def crash_files(run: Path) -> list[Path]:
    """Return the nonfinite_step_<n>.pt of a run folder's first process, by step."""
    numbered = [(match, path) for path in run.glob("nonfinite_step_*.pt") if (match := CRASH.fullmatch(path.name))]
    return [path for _, path in sorted((int(match[1]), path) for match, path in numbered)]


def read_crash(path: Path) -> Crash:
    """Load one of the `crash_files`. Raises: UserError, no such file or a damaged one."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return Crash(path, content["step"], content["loss"], content["model"])
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: found no record of a non-finite step, expected one (truncated file?)") from error
