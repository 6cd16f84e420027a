"""Stage convert-weights: weights of SuperPoint from elsewhere as a file of ours.

superpoint convert-weights superpoint_v1.pth --out converted.safetensors
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from superpoint.errors import UserError
from superpoint.interop.weights import convert_weights, licence
from superpoint.models.weights import save_weights


def convert_weights_file(source: str | Path, out: str | Path) -> Path:
    """Write the weights of `source` (layouts: `superpoint.interop.weights`) as a weights file, with a word on licences.

    Raises: UserError if the source is no such file, or the target is no .safetensors file or cannot be written.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: expected a file name that ends in .safetensors")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder")
    model, config, layout = convert_weights(source)
    notes = licence(layout)
    save_weights(out, model, asdict(config), {**notes, "converted_from": Path(source).name})
    console = Console()
    console.print(f"weights: {out} ({layout} layout)", soft_wrap=True)
    console.print(
        f"licence: the converted file stays under the licence of {Path(source).name}. {notes['licence']}",
        soft_wrap=True,
    )
    return out
