"""From a checkpoint back to the state of a run, with everything checked first."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from superpoint.engine.optimizers import WeightAverage
from superpoint.engine.run import flatten
from superpoint.engine.schedules import Plateau
from superpoint.errors import UserError
from superpoint.models.checkpoint import load_checkpoint
from superpoint.models.weights import load_model_state

FIXED_KEYS = ("model.", "seed", "optimizer.name")  # of the config: a resumed run cannot have others


@dataclass
class TrainState:
    """The numbers of a run that are not in the model, the optimiser, the average or the plateau."""

    step: int = 0  # optimiser steps taken
    elapsed: float = 0.0  # seconds of training, over all sessions
    best: float = -math.inf
    best_step: int = 0
    validated_step: int = 0  # step of the last validation, so that none is done twice


def restore(
    path: Path,
    config: str,
    seed: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
    plateau: Plateau,
    state: TrainState,
) -> list[str]:
    """Load the checkpoint `path` into the objects given, in place; `optimizer` keeps its rate, weight decay and betas.

    Returns: one line per key of `config` (YAML) that has changed and may.

    Raises: UserError for an unreadable checkpoint, another architecture, or a changed key that makes it another run.
    """
    checkpoint = load_checkpoint(path)
    notes = []
    for key, old, new in config_differences(checkpoint["config"], config):
        if key.startswith(FIXED_KEYS):
            raise UserError(
                f"{path}: {key}: found {new!r}, but the run was started with {old!r}; it cannot be resumed so"
            )
        notes.append(f"changed on resume: {key}: {old!r} -> {new!r}")
    if checkpoint["seed"] != seed:
        raise UserError(f"{path}: seed: found {seed}, but the run was started with {checkpoint['seed']}")
    if average is not None and checkpoint["ema"] is None:
        raise UserError(f"{path}: train.ema: the run was started without averaged weights; set train.ema=0")

    load_model_state(model, checkpoint["model"], path)
    if average is not None:
        load_model_state(average.model, checkpoint["ema"], path)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": checkpoint["optimizer"]["state"], "param_groups": groups})
    for name, value in checkpoint["plateau"].items():
        setattr(plateau, name, value)
    for name in vars(state):
        setattr(state, name, checkpoint[name])
    return notes


def config_differences(old: str, new: str) -> list[tuple[str, Any, Any]]:
    """Return the dotted keys whose values differ between two YAML documents, with old and new value (absent = null)."""
    before, after = (flatten(yaml.safe_load(text) or {}, ".") for text in (old, new))
    keys = list(dict.fromkeys([*before, *after]))
    absent = "nothing (another version)"
    differing = [key for key in keys if before.get(key) != after.get(key)]
    return [(key, before.get(key, absent), after.get(key, absent)) for key in differing]
