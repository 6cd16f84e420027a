"""From YAML and `key.path=value` to frozen dataclasses, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from superpoint.errors import UserError

T = TypeVar("T")


def load_config(cls: type[T], path: str | Path | None = None, overrides: Sequence[str] = ()) -> T:
    """The configuration of a stage: defaults of `cls`, then the YAML file, then `key.path=value`, each over the last.

    Raises: UserError, one line that names the file or key, for a missing or malformed file, an unknown key or a value
    of the wrong type or range.
    """
    config = OmegaConf.structured(cls)
    if path is not None:
        config = _merge(config, _read_yaml(Path(path)), str(path))
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise UserError(f"'{override}': found no '=', expected key.path=value (options start with --)")
        config = _merge(config, _parse_override(override), override)
    try:
        return cast(T, OmegaConf.to_object(config))
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere, for instance
        raise UserError(f"{getattr(error, 'full_key', None) or 'configuration'}: {_first_line(error)}") from error


def dump_config(config: Any) -> str:
    """A configuration object as YAML, complete, in the order of its definition."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _read_yaml(path: Path) -> DictConfig:
    if not path.is_file():
        raise UserError(f"{path}: no such config file")
    try:
        content = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    except YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, DictConfig):
        raise UserError(f"{path}: found a list or a single value, expected a mapping of keys to values")
    return content


def _parse_override(override: str) -> DictConfig:
    try:
        return OmegaConf.from_dotlist([override])
    except (OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"'{override}': not key.path=value ({' '.join(str(error).split())})") from error


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
