"""What `finetune`, `adapt` and `pipeline` share: how a recipe of several steps begins, and how it trains.

The folder of a recipe holds its settings, <command>.yaml, and what each step leaves. Killed at any instant, the same
command with --resume goes on where it was: a step that is complete is not done again.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from superpoint.budget import Budget
from superpoint.config import ChainConfig, MagicPointConfig, dump_config, load_config
from superpoint.config.labelling import MAY_CHANGE
from superpoint.data.sources.source import open_source
from superpoint.engine import TrainResult
from superpoint.engine.resume import config_differences
from superpoint.errors import UserError
from superpoint.files import make_folder, read_text, write_text

Conclude = Callable[[Any, TrainResult], object]  # (config of a run, its result): evaluates and reports a complete run
Remedy = Callable[[str, Any, Any], str | None]  # (key, old, new): what to do about a changed setting; None = it may

FREE = {"run", *(f"labelling.{key}" for key in MAY_CHANGE)}  # settings that decide about no result


def begin(config: ChainConfig, *, resume: bool, remedy: Remedy, own: Sequence[str] = ()) -> Path:
    """Return the folder of a recipe, once it is sure that the recipe may go on there. Nothing is written.

    Args:
        resume: whether the folder may hold results.
        remedy: asked about each setting that differs from those of the results.
        own: names in the folder, besides the settings, that are no results.

    Raises: UserError under torchrun, or if the folder is not empty without `resume`, of another command, or of other
        settings.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            f"{config.stage}: found several processes (torchrun), expected one; for several call its steps in turn"
        )
    folder = Path(config.run)
    settings = _settings_file(config)
    # What a command that failed before its first step has left behind does not count.
    begun = folder.is_dir() and any(each.name not in (settings.name, *own) for each in folder.iterdir())
    if begun and not resume:
        raise UserError(f"run={folder}: the folder is not empty; go on with it by --resume, or take another run=...")
    if begun and not settings.exists():
        raise UserError(f"run={folder}: the folder holds no {config.stage} to resume; take another run=...")
    if begun:
        load_config(type(config), settings)  # UserError if it is damaged, or of another version
        for key, old, new in config_differences(read_text(settings), dump_config(config)):
            advice = remedy(key, old, new)
            if advice is not None:
                raise UserError(f"{settings}: {key}: found {new}, but the run was begun with {old}; {advice}")
    return folder


def keep(key: str, _old: Any, _new: Any) -> str | None:
    """A `Remedy`: refuse any change of what decides about results."""
    return None if key in FREE else "set it back, or take another run=..."


def write_settings(config: ChainConfig) -> None:
    """Make the folder of the recipe and write its settings."""
    make_folder(config.run)
    write_text(_settings_file(config), dump_config(config))


def _settings_file(config: ChainConfig) -> Path:
    return Path(config.run) / f"{config.stage}.yaml"


def check_photographs(images: str | None, count: int, channels: int = 1) -> Path:
    """Return the folder `images`. Raises: UserError unless it holds at least `count` photographs that can be read."""
    if images is None:
        raise UserError("images: not set, expected a folder of photographs: images=FOLDER")
    if not Path(images).is_dir():
        raise UserError(f"images: found '{images}', expected a folder of photographs")
    source = open_source([images], channels=channels)
    total, readable, reason = len(source), 0, ""
    for item in source.read(0, total):
        try:
            item.load()
        except UserError as error:
            reason = reason or f" ({error})"
            continue
        readable += 1
        if readable == count:
            return Path(images)
    found = f"{readable} of {total} photographs readable{reason}"
    raise UserError(f"images: found {found} in {images}, expected at least {count}")


def run_training(
    train: Callable[..., TrainResult],
    config: MagicPointConfig,
    conclude: Conclude | None = None,
    budget: Budget | None = None,
) -> TrainResult:
    """Train, or go on with the training; conclude it if it is complete. `budget` is for both."""
    result = train(config, resume=True, budget=budget)
    if conclude is not None and result.signal is None:
        conclude(config, result)
    return result
