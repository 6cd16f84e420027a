"""Stage export-weights: from a training checkpoint to a file to share.

superpoint export-weights runs/magicpoint magicpoint.safetensors --half
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from superpoint.errors import UserError
from superpoint.models.loading import model_from_state
from superpoint.models.weights import load_weights, save_weights


def export_weights(
    source: str | Path, out: str | Path, *, half: bool = False, metadata: Mapping[str, Any] | None = None
) -> Path:
    """The (averaged) weights of a run folder, checkpoint or file, as safetensors with the model's configuration.

    Raises: UserError if there are none, they fit no known architecture, or the target is no .safetensors file.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: expected a file name that ends in .safetensors")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder")
    state, model_config, found = load_weights(source)
    model = model_from_state(state, model_config, source)
    kept = {key: value for key, value in found.items() if key != "checkpoint"}
    save_weights(out, model, model_config, {**kept, **(metadata or {})}, half=half)
    Console().print(f"weights: {out}", soft_wrap=True)
    return out
