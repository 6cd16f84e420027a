"""From YAML and `key.path=value` to frozen dataclasses, and back."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from superpoint.errors import UserError, did_you_mean, one_line
from superpoint.files import read_text

T = TypeVar("T")


def load_config(
    cls: type[T], path: str | Path | None = None, overrides: Sequence[str] = (), *, preset: Sequence[str] = ()
) -> T:
    """Load the configuration of a stage: defaults of `cls`, then the file, then `key.path=value`, each over the last.

    Args:
        cls: a dataclass; its class attribute `stage` names the command whose files it reads ("" or absent: any).
        path: a YAML file, or the name of a recipe such as magicpoint/quick.
        preset: as `overrides`, but under the file.

    Raises: UserError for a missing or malformed file, a file of another stage, an unknown key or a wrong value.
    """
    config = OmegaConf.structured(cls)
    for each in preset:
        config = _override(config, each)
    if path is not None:
        file, content = _read_yaml(path)
        stage = _pop_stage(file, content, getattr(cls, "stage", ""))
        expected = getattr(cls, "stage", "") or stage
        if stage != expected:
            raise UserError(f"{file} is a configuration of {stage}; this command is {expected}")
        config = _merge(config, content, str(file))
    for each in overrides:
        config = _override(config, each)
    try:
        return cast(T, OmegaConf.to_object(config))
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere, for instance
        raise UserError(f"{getattr(error, 'full_key', None) or 'configuration'}: {_first_line(error)}") from error


def read_stage(path: str | Path) -> str:
    """Return the command that a configuration file belongs to. Raises: UserError as `load_config`."""
    return _pop_stage(*_read_yaml(path))


def dump_config(config: Any) -> str:
    """Return a configuration as complete YAML: its stage if it has one, then all keys."""
    stage = getattr(config, "stage", "")
    head = f"stage: {stage}\n" if stage else ""
    return head + OmegaConf.to_yaml(OmegaConf.structured(config))


def recipe_folder() -> Path:
    """Return the folder of the recipes: inside an installed package, beside the package in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def recipe_names() -> list[str]:
    """Return the names of the recipes, such as magicpoint/quick."""
    folder = recipe_folder()
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.glob("*/*.yaml"))


def find_config(path: str | Path) -> Path:
    """Return the file `path`, or the recipe of that name. Raises: UserError, with the nearest recipe, if neither is."""
    if Path(path).is_file():
        return Path(path)
    recipes = recipe_names()
    if str(path) in recipes:
        return recipe_folder() / f"{path}.yaml"
    name = str(path).removeprefix("configs/").removesuffix(".yaml")
    hint = did_you_mean(name, recipes) or f"; recipes are {', '.join(recipes)}"
    raise UserError(f"{path}: no such config file or recipe{hint}")


def _pop_stage(file: Path, content: DictConfig, example: str = "") -> str:
    stage = content.pop("stage", None)
    if not isinstance(stage, str):
        raise UserError(f"{file}: found no stage, expected its first line to be 'stage: {example or 'COMMAND'}'")
    return stage


def _read_yaml(path: str | Path) -> tuple[Path, DictConfig]:
    path = find_config(path)
    try:
        content = OmegaConf.load(io.StringIO(read_text(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    except YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({one_line(error)})") from error
    if not isinstance(content, DictConfig):
        raise UserError(f"{path}: found a list or a single value, expected a mapping of keys to values")
    return path, content


def _override(config: DictConfig, text: str) -> DictConfig:
    if not text.partition("=")[0] or "=" not in text:
        hint = f"; is it images={text}?" if "images" in config and Path(text).is_dir() else ""
        raise UserError(f"'{text}': found no '=', expected key.path=value (options start with --){hint}")
    try:
        addition = OmegaConf.from_dotlist([text])
    except (OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"'{text}': not key.path=value ({one_line(error)})") from error
    return _merge(config, addition, text)


def _merge(config: DictConfig, addition: DictConfig, source: str) -> DictConfig:
    try:
        for key in OmegaConf.missing_keys(addition):  # OmegaConf would pass over them
            raise UserError(f"{source}: {key}: found ???, expected a value")
        return cast(DictConfig, OmegaConf.merge(config, addition))
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if getattr(error, "full_key", None) else ""
        raise UserError(f"{source}: {key}{_first_line(error)}") from error


def _first_line(error: OmegaConfBaseException) -> str:
    return str(error.msg or error).split("\n")[0]
