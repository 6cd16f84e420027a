"""Options that several commands share: one word, one meaning and one default for each.

A function in an annotation checks the value before the command runs, and before PyTorch is imported.
"""

import glob
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from superpoint.config.inference import Backend, Device, Precision
from superpoint.errors import UserError, near_file
from superpoint.pretrained import pretrained_names, resolve_weights


def check_model(value: Any) -> None:
    """Raise UserError for a model that is not there."""
    for each in value if isinstance(value, list) else [value]:
        if each is not None:
            resolve_weights(each)


def check_inputs(texts: list[str]) -> None:
    """Raise UserError for a plain name that is not there."""
    for text in texts:
        if not (text.startswith("pipe:") or "{" in text or glob.has_magic(text) or Path(text).exists()):
            option = text.partition("=")
            hint = f"; is it --{option[0]} {option[2]}?" if option[1] else near_file(text)
            raise UserError(f"{text}: no such file or folder, expected images{hint}")


def check_path(value: Any) -> None:
    """Raise UserError for a path that is not there."""
    for each in value if isinstance(value, list | tuple) else [value]:
        if each is not None and not Path(each).exists():
            raise UserError(f"{each}: no such file or folder{near_file(each)}")


def numbers(option: str, text: str) -> list[float]:
    """Return the numbers in "0.1,1,10". Raises: UserError for anything else, or one given twice."""
    found: list[float] = []
    for part in text.split(","):
        try:
            found.append(float(part))
        except ValueError:
            raise UserError(f"{option}: found '{part.strip()}', expected numbers such as 0.1,1,10") from None
    if len(set(found)) < len(found):
        raise UserError(f"{option}: found '{text}', expected each number once")
    return found


def words(text: str | None) -> list[str]:
    """Return the words in "superpoint,sift,orb"."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]


MODEL = Option(
    "--model",
    help="Name of pretrained weights, weights file, checkpoint, run folder, or folder of a finetune or pipeline.",
    autocompletion=pretrained_names,
)
Model = Annotated[str, MODEL, check_model]
Models = Annotated[list[str], MODEL, check_model]
OptionalModel = Annotated[str | None, MODEL, check_model]
Resume = Annotated[bool, Option("--resume", help="Go on with what was stopped, or start it.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace what is there.")]
Out = Annotated[Path | None, Option(help="Folder for the results; default runs/study-NAME.")]
Root = Annotated[Path | None, Option(help="Folder that image names are relative to.")]
MaskFolder = Annotated[
    Path | None, Option("--masks", help="Folder of masks, name.jpg.png or name.png; 0 = ignore."), check_path
]
Images = Annotated[
    Path | None, Option(help="Photographs to make pairs from; default those of scikit-image."), check_path
]
Run = Annotated[Path, Argument(help="run folder"), check_path]
Rates = Annotated[str, Option(help="Learning rates of SGD.")]
Momenta = Annotated[str, Option(help="Momenta, each 0 or more and below 1.")]

# Field of a configuration -> the option that sets it; the default is the field's.
FIELDS: dict[str, Any] = {
    "model": Model,
    "threshold": Annotated[float, Option(help="Min probability of a keypoint.")],
    "max_keypoints": Annotated[int, Option(help="Strongest keypoints kept per image; 0 = all.")],
    "grid": Annotated[str | None, Option(metavar="COLUMNSxROWS", help="Cells that --per-cell is for, e.g. 8x8.")],
    "per_cell": Annotated[int, Option(help="Strongest keypoints kept in each cell of --grid.")],
    "nms_radius": Annotated[int, Option(help="Drop the weaker of two peaks within this distance, px.")],
    "border": Annotated[int, Option(help="Drop keypoints nearer to the edge than this, px.")],
    "resize": Annotated[int, Option(help="Shrink images to this longest side first, px; 0 = as they are.")],
    "tile": Annotated[
        str,
        Option(
            metavar="N|auto|0", help="Side of the tiles of large images, px; auto = where memory asks for it; 0 = none."
        ),
    ],
    "backend": Annotated[Backend, Option(help="Runtime of the network.")],
    "precision": Annotated[Precision, Option(help="Number format of the network.")],
    "device": Annotated[Device, Option(help="Where the network runs.")],
}
RUNTIME = ("backend", "precision", "device")
