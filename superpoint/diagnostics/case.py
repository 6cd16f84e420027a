"""What the checks look at: the parts of a training run, whole or broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from superpoint.config import MagicPointConfig

Sample = dict[str, torch.Tensor]


class Labelled(Protocol):
    """A data set as the loop sees it, which can also show its samples before they are encoded."""

    def __getitem__(self, index: int) -> Sample:
        """Dict of image uint8 [1, H, W], target int64 [H / 8, W / 8], valid bool [H / 8, W / 8]."""
        ...

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image uint8 [H, W], points float32 [N, 2] (x, y), valid mask bool [H, W] of the same sample."""
        ...


@dataclass(frozen=True)
class Case:
    """Attributes:
    config: the resolved configuration of the run.
    dataset: the training data, augmented as the run sees it at full strength.
    model: the network with the weights that are being trained (not their average), in evaluation mode, on the CPU. A
        check that changes a mode or a hook puts it back.
    objective: called as objective(model, batch), see `engine.loop.train`.
    history: the lines of metrics.jsonl, oldest first; empty if nothing has been trained.
    read_gray: the function by which image files reach the network, path -> uint8 [H, W]; None if its data reads none.
    folder: the run folder, if there is one.
    rate_curve: learning rates and smoothed losses of a range test with this data, network and optimiser, if made.
    """

    config: MagicPointConfig
    dataset: Labelled
    model: nn.Module
    objective: Callable[[nn.Module, Sample], dict[str, torch.Tensor]]
    history: list[dict[str, Any]] = field(default_factory=list)
    read_gray: Callable[[Path], np.ndarray] | None = None
    folder: Path | None = None
    rate_curve: tuple[list[float], list[float]] | None = None

    def samples(self, count: int, first: int | None = None) -> list[Sample]:
        """Samples of the training data; by default from where its curriculum is over."""
        start = self.config.data.curriculum if first is None else first
        return [self.dataset[start + index] for index in range(count)]

    def batch(self, count: int) -> Sample:
        """These samples as one batch: image [B, 1, H, W], target and valid [B, H / 8, W / 8]."""
        samples = self.samples(count)
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}

    def events(self, name: str) -> list[Mapping[str, Any]]:
        """The lines of the history about one event: train, validate, probe, initial_loss, nonfinite, ..."""
        return [entry for entry in self.history if entry["event"] == name]
