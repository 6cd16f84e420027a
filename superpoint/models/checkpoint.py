"""Training checkpoints, written atomically, read without executing anything, and checked before use."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from superpoint.errors import UserError
from superpoint.files import write_atomically

FORMAT_VERSION = 1
STATE_KEYS = ("step", "elapsed", "best", "best_step", "validated_step")
REQUIRED_KEYS = ("model", "ema", "optimizer", "plateau", "config", "seed", *STATE_KEYS)


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (dicts, lists, tensors, numbers, strings); `torch.load(path, weights_only=True)` reads it."""
    missing = [key for key in REQUIRED_KEYS if key not in state]
    assert not missing, f"checkpoint without {missing}"
    _write(path, {"format": FORMAT_VERSION, **state})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()  # serialised in memory first: a full disk is then an OSError, not one of torch's own kinds
    torch.save(content, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU. Raises: UserError if it is missing, truncated, or of another kind or version."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged files make the unpickler raise nearly everything
        raise UserError(f"{path}: not a readable checkpoint (truncated, or another kind of file)") from error
    if not isinstance(state, dict) or "format" not in state:
        raise UserError(f"{path}: not a training checkpoint of this program (it has no format version)")
    if state["format"] != FORMAT_VERSION:
        raise UserError(f"{path}: found checkpoint format {state['format']}, expected {FORMAT_VERSION}")
    missing = [key for key in REQUIRED_KEYS if key not in state]
    if missing:
        raise UserError(f"{path}: the checkpoint lacks {', '.join(missing)}")
    return state


def write_nonfinite(
    run: Path, rank: int, found: Mapping[str, float], batches: Sequence[Mapping[str, Tensor]], model: nn.Module
) -> Path:
    """Write what explains a NaN or infinity, and return the path, run/nonfinite_step_<step>.pt.

    Args:
        rank: of this process; all but the first put theirs into the file name.
        found: "step", "loss" and "gradient_norm".
        batches: the accumulated parts of the step, as this process saw them.
    """
    path = run / f"nonfinite_step_{found['step']}{f'_rank_{rank}' if rank else ''}.pt"
    hosted = [{name: tensor.cpu() for name, tensor in batch.items()} for batch in batches]
    content = {**found, "batches": hosted, "model": model.state_dict()}
    _write(path, content)
    return path
