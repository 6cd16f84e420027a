"""From a run folder to a case: what the checks need, read from what the run has left behind."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from superpoint.config import load_run_config
from superpoint.data.feature_file import FeatureFile
from superpoint.data.mixture import Mixture
from superpoint.data.samples import PointSamples
from superpoint.data.sources.photographs import LabelledPhotographs
from superpoint.data.training_set import training_samples
from superpoint.data.warped_pairs import SingleViews
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.crash import crash_files, read_crash
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.models import build_model
from superpoint.models.weights import load_model_state
from superpoint.training.objectives import detector_objective

CHECKPOINTS = ("checkpoints/last.ckpt", "checkpoints/best.ckpt")


@dataclass(frozen=True)
class History:
    """Attributes:
    entries: the lines of metrics.jsonl, oldest first.
    damaged: numbers (from 1) of lines before the last that cannot be read and are left out; no crash leaves such.
    truncated: whether the last line was cut short, as a crash does; it is left out too.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    truncated: bool = False

    @property
    def step(self) -> int:
        """Of the last line; 0 if there is none."""
        return int(self.entries[-1]["step"]) if self.entries else 0

    @property
    def note(self) -> str:
        """One line about damage, empty if there is none."""
        if not self.damaged:
            return ""
        lines = ", ".join(str(number) for number in self.damaged[:5]) + (", ..." if len(self.damaged) > 5 else "")
        return f"metrics.jsonl: {len(self.damaged)} damaged lines left out (line {lines})"


@dataclass(frozen=True)
class RunReading:
    """A run folder as the checks see it: its case, its history, the file and the step that the weights are from."""

    case: Case
    history: History
    weights: Path
    step: int


def read_case(run: str | Path) -> Case:
    """The case of a run folder, see `read_run`."""
    return read_run(run).case


def read_run(run: str | Path) -> RunReading:
    """Configuration, history, network (the weights that were trained, not their average) and data of a run folder.

    The weights are those of checkpoints/last.ckpt, else best.ckpt, else, of a run that ended with NaN before its first
    checkpoint, those that it kept in nonfinite_step_<n>.pt.

    Raises: UserError, one line: no such folder, no run folder, a damaged configuration, no checkpoint, or one that is
    damaged or of another architecture.
    """
    folder = run_folder(run)
    history = read_history(folder)
    config = load_run_config(folder / "config.yaml")
    path, state, step = read_weights(folder)
    model = build_model(config.model, config.seed, pretrained=False)
    load_model_state(model, state, path)
    dataset = training_samples(config.data, config.seed)
    case = Case(
        config=config,
        dataset=dataset,
        model=model.eval(),
        objective=detector_objective(config),
        history=history.entries,
        read_gray=image_reader(dataset),
        folder=folder,
    )
    return RunReading(case, history, path, step)


def image_reader(dataset: PointSamples | Mixture | SingleViews) -> Callable[[Path], NDArray[np.uint8]] | None:
    """How the training data reads an image file, path -> uint8 [H, W]; None if it reads none.

    The data's own source does it, pointed to another folder: so whatever its code makes of colours is seen.
    """
    if isinstance(dataset, Mixture):
        dataset = dataset.second
    source = dataset.pairs.source if isinstance(dataset, SingleViews) else getattr(dataset, "source", None)
    if not isinstance(source, LabelledPhotographs):
        return None

    def read(path: Path) -> NDArray[np.uint8]:
        other = copy.copy(source)
        other.root, other.store, other.names, other.labels = path.parent, None, [path.name], _NoLabels()
        return other[0][0]

    return read


class _NoLabels(FeatureFile):
    """A file in which every image has no point."""

    def __init__(self) -> None:
        pass  # there is nothing to open

    def read(self, name: str, *args: object, **keys: object) -> Features:
        return Features(np.empty((0, 2), np.float32))


def read_history(run: str | Path) -> History:
    """What a run has logged; empty if that is nothing yet. Raises: UserError, no run folder."""
    path = run_folder(run) / "metrics.jsonl"
    if not path.is_file():
        return History()
    parsed = [_parse(line) for line in path.read_bytes().splitlines()]
    damaged = [number for number, entry in enumerate(parsed, 1) if entry is None]
    truncated = bool(parsed) and parsed[-1] is None
    entries = [entry for entry in parsed if entry is not None]
    return History(entries, damaged[:-1] if truncated else damaged, truncated)


def run_folder(run: str | Path) -> Path:
    """The folder `run`. Raises: UserError if there is none, or if it is not that of a run."""
    folder = Path(run)
    if not folder.exists():
        raise UserError(f"{folder}: no such run folder")
    if not folder.is_dir() or not (folder / "config.yaml").is_file():
        raise UserError(
            f"{folder}: not a run folder: found no config.yaml in it, expected what a training stage writes"
        )
    return folder


def _parse(line: bytes) -> dict[str, Any] | None:
    """One line of metrics.jsonl, None if it is not an event with a step."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(entry, dict) and isinstance(entry.get("step"), int) and isinstance(entry.get("event"), str)
    return entry if whole else None


def read_weights(folder: Path) -> tuple[Path, Mapping[str, Tensor], int]:
    """File, state of the network and step of a run folder. Raises: UserError, no checkpoint or a damaged one."""
    from superpoint.models.checkpoint import load_checkpoint  # here, so that the library does not import the engine

    for path in (folder / name for name in CHECKPOINTS):
        if path.is_file():
            checkpoint = load_checkpoint(path)
            return path, checkpoint["model"], int(checkpoint["step"])
    crashes = crash_files(folder)
    if crashes:
        crash = read_crash(crashes[-1])
        return crash.path, crash.weights, crash.step
    raise UserError(
        f"{folder}: found no checkpoint, expected {' or '.join(CHECKPOINTS)}; "
        "the first is written at the first validation or after train.checkpoint_minutes"
    )
