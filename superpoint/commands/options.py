"""Options that several commands share: one word, one meaning and one default for each.

A function in an annotation checks the value before the command runs, and before PyTorch is imported.
"""

import glob
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Option

from superpoint.config import FinetuneConfig, MagicPointConfig
from superpoint.config.inference import Backend, Device, Precision
from superpoint.errors import UserError, near_file
from superpoint.lock import FolderLock
from superpoint.pretrained import pretrained_names, resolve_weights, result_run


def check_model(value: Any) -> None:
    """Raise UserError for a model that is not there."""
    for each in value if isinstance(value, list) else [value]:
        if each is not None:
            resolve_weights(each)


def check_inputs(texts: list[str]) -> None:
    """Raise UserError for a plain name that is not there."""
    for text in texts:
        if not ("{" in text or glob.has_magic(text) or Path(text).exists()):
            option = text.partition("=")
            hint = f"; is it --{option[0]} {option[2]}?" if option[1] else near_file(text)
            raise UserError(f"{text}: no such file or folder, expected images{hint}")


def check_path(value: Any) -> None:
    """Raise UserError for a path that is not there."""
    for each in value if isinstance(value, list | tuple) else [value]:
        if each is not None and not Path(each).exists():
            raise UserError(f"{each}: no such file or folder{near_file(each)}")


def check_source(value: str) -> None:
    """Raise UserError for a path that is not there; a number is a camera."""
    if not value.isdecimal():
        check_path(value)


def check_run(value: Any) -> None:
    """Raise UserError for a folder that no training has written."""
    for each in value if isinstance(value, list) else [value]:
        check_path(each)
        if not (result_run(each) / "config.yaml").is_file():
            raise UserError(f"{each}: not a run folder: found no config.yaml in it, expected what a training writes")


def ends_in(*endings: str) -> Callable[[Any], None]:
    """Return a check of --out: its ending is one of these ("": none)."""

    def check(value: Any) -> None:
        if value is not None and Path(value).suffix.lower() not in endings:
            folder = ", or a folder" if "" in endings else ""
            raise UserError(
                f"--out: found '{value}', expected a name that ends in {', '.join(filter(None, endings))}{folder}"
            )

    return check


def check_settings(config: Any, options: Mapping[str, Any]) -> None:
    """Raise UserError for paths of a configuration that are not there, a run folder in use, options that do not fit."""
    for section, prefix in ((config, ""), (getattr(config, "data", None), "data.")):
        for key in ("images", "labels", "masks", "train", "test"):
            value = getattr(section, key, None)
            if isinstance(value, str) and not Path(value).exists():
                raise UserError(f"{prefix}{key}={value}: no such file or folder{near_file(value)}")
    if isinstance(config, MagicPointConfig | FinetuneConfig):
        check_model(config.weights)
    for matcher in words(str(options.get("matcher") or getattr(config, "matcher", ""))):
        if matcher.startswith("lightglue:"):
            check_model(matcher.partition(":")[2])
    if options.get("resume") and options.get("overwrite"):
        raise UserError("--overwrite: found beside --resume, expected one of the two")
    out = options.get("out")
    if options.get("overwrite") is False and not options.get("resume") and out is not None and out.is_file():
        raise UserError(f"{out}: exists already; take another --out, or --overwrite")
    run = Path(getattr(config, "run", ""))
    if options.get("resume") is False and options.get("first") is None and "overwrite" not in options and run.is_dir():
        own = (FolderLock.NAME, f"{config.stage}.yaml", "images")  # of a session that failed before its first step
        if any(each.name not in own and each.suffix != ".tmp" for each in run.iterdir()):
            raise UserError(f"run={run}: the folder is not empty; go on with it by --resume, or take another run=...")


def floats(option: str, text: str) -> list[float]:
    """Return the numbers in "0.1,1,10". Raises: UserError for anything else."""
    found: list[float] = []
    for part in text.split(","):
        try:
            found.append(float(part))
        except ValueError:
            raise UserError(f"{option}: found '{part.strip()}', expected numbers such as 0.1,1,10") from None
    return found


def numbers(option: str, text: str) -> list[float]:
    """Return the numbers in "0.1,1,10", each given once. Raises: UserError for anything else."""
    found = floats(option, text)
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
Matcher = Annotated[
    str,
    Option(
        metavar="mutual|ratio|dual_softmax|lightglue[:RUN]",
        help="How keypoints are matched; lightglue takes pretrained weights for --model, or those of RUN.",
    ),
]
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
Run = Annotated[Path, Argument(help="run folder"), check_run]
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
    "pairs": Annotated[
        str | None,
        Option(help="List of pairs, two names per line. Default: all of up to 60 images, of more --retrieve 20."),
        check_path,
    ],
    "exhaustive": Annotated[bool, Option("--exhaustive", help="Match all pairs.")],
    "sequential": Annotated[int, Option(help="Match each image with so many that follow.")],
    "retrieve": Annotated[int, Option(help="Match each image with so many that are most like it.")],
    "matcher": Matcher,
    "max_distance": Annotated[float, Option(help="Max distance of descriptors, by mutual.")],
    "ratio": Annotated[float, Option(help="Max ratio of the distances to the nearest and the second, by ratio.")],
    "mapper": Annotated[Literal["incremental", "global"], Option(help="COLMAP's mapper; global is for many images.")],
    "shared_camera": Annotated[bool, Option("--shared-camera", help="All photographs are of one camera, one zoom.")],
    "seed": Annotated[int, Option(help="Seed of verification and mapper.")],
    "verify": Annotated[bool, Option("--verify", help="Keep only what agrees with an epipolar geometry.")],
}
RUNTIME = ("backend", "precision", "device")
