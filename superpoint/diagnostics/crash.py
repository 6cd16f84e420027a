"""What a run keeps of the step at which its loss or gradient was no longer finite."""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from superpoint.errors import UserError

PATTERN = re.compile(r"nonfinite_step_(\d+)\.pt")


@dataclass(frozen=True)
class Crash:
    """Attributes:
    path: the file, see `models.checkpoint.write_nonfinite`.
    step: updates done before.
    loss, gradient_norm: of that step; at least one of them is not finite.
    weights: state of the network. The parameters are those that met the batch; the batch-norm statistics have already
        seen what it made of it.
    """

    path: Path
    step: int
    loss: float
    gradient_norm: float
    weights: dict[str, Tensor]


def crash_files(run: Path) -> list[Path]:
    """The nonfinite_step_<n>.pt of a run folder, by step; those of processes other than the first are left out."""
    numbered = [(match, path) for path in run.glob("nonfinite_step_*.pt") if (match := PATTERN.fullmatch(path.name))]
    return [path for _, path in sorted((int(match[1]), path) for match, path in numbered)]


def read_crash(path: Path) -> Crash:
    """Raises: UserError, no such file or not one of these."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return Crash(path, content["step"], content["loss"], content["gradient_norm"], content["model"])
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: found no record of a non-finite step, expected one (truncated file?)") from error
