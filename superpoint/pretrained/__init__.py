"""The weights that ship with the package, and the file that a name or folder stands for.

This imports no PyTorch, so that the command line can report missing weights within a second.
"""

from pathlib import Path

from superpoint.errors import UserError, did_you_mean, near_file

PRETRAINED = Path(__file__).parent
RESULTS = {"finetune.yaml": "training", "pipeline.yaml": "superpoint"}  # settings of a folder -> its last training
MATCHER = "lightglue-"  # before the name of the network that a matcher is for
OF_A_RUN = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "weights.safetensors")  # in order of preference


def pretrained_names() -> list[str]:
    """Return the names of the networks."""
    return sorted({path.stem for path in PRETRAINED.glob("*.safetensors")} - set(pretrained_matchers()))


def pretrained_matchers() -> list[str]:
    return sorted(path.stem for path in PRETRAINED.glob(f"{MATCHER}*.safetensors"))


def result_run(folder: str | Path) -> Path:
    """Return the last run in a folder of `finetune` or `pipeline`, any other path as it is.

    Raises: UserError if that run has not begun.
    """
    path = Path(folder)
    for settings, result in RESULTS.items():
        if (path / settings).is_file():
            if not (path / result).is_dir():
                stage = settings.removesuffix(".yaml")
                raise UserError(f"{path}: this {stage} has not come to its {result} yet; go on with it by --resume")
            return path / result
    return path


def run_of(source: str | Path) -> Path | None:
    """Return the run folder that `source` names, None for weights from elsewhere.

    In a checkout the package's own folder has the name of pretrained weights.
    """
    path = result_run(source)
    return path if any((path / name).is_file() for name in OF_A_RUN) else None


def resolve_weights(source: str | Path) -> Path:
    """Return the weights file of `source`.

    Args:
        source: a file, a run folder, the folder of a finetune or pipeline (`result_run`), or the name of pretrained
            weights; the first that fits in this order.

    Raises: UserError if there is no such file, or the folder holds no weights.
    """
    path = result_run(source)
    names = pretrained_names()
    found = [path / name for name in OF_A_RUN if (path / name).is_file()]
    if path.is_file():
        return path
    if found:
        return found[0]
    if str(path) in (*names, *pretrained_matchers()):
        return PRETRAINED / f"{path}.safetensors"
    if path.is_dir():
        raise UserError(f"{path}: found no checkpoint, expected one of {', '.join(OF_A_RUN)}")
    hint = did_you_mean(path, names) or near_file(path)
    raise UserError(
        f"{path}: no such file, expected weights (.safetensors), a checkpoint (.ckpt), a run folder or the name of "
        f"pretrained weights ({', '.join(names) or 'none'}){hint}"
    )
