"""Weights for use and sharing, read from safetensors and checkpoints without executing anything."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from superpoint.config import ModelConfig
from superpoint.errors import UserError
from superpoint.files import write_atomically
from superpoint.models.checkpoint import load_checkpoint
from superpoint.models.superpoint import SuperPoint, build_model
from superpoint.pretrained import resolve_weights

FORMAT_VERSION = "1"

Weights = tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]  # state, model_config, metadata


def save_weights(
    path: str | Path,
    model: nn.Module,
    model_config: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write the parameters and buffers of a model, atomically.

    Args:
        path: the file; its folder must exist.
        model: on any device, in any memory format; a compiled model is written under its own names.
        model_config: the fields of `config.ModelConfig`.
        metadata: JSON values, such as the run, its metrics, the licence of the training images.
        half: store weights of two and more dimensions as float16.

    Raises: UserError if the file cannot be written, or a value is too large for float16.
    """
    path = Path(path)
    tensors = {}
    for name, tensor in getattr(model, "_orig_mod", model).state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        if half and tensor.ndim >= 2 and tensor.is_floating_point():
            if bool((tensor.abs() > torch.finfo(torch.float16).max).any()):
                raise UserError(f"{path}: '{name}' holds a value beyond 65504, expected values that fit float16")
            tensor = tensor.half()
        tensors[name] = tensor
    header = {
        "format": "pt",  # what other readers of safetensors look for
        "superpoint_weights": FORMAT_VERSION,
        "model_config": json.dumps(dict(model_config)),
        "metadata": json.dumps(dict(metadata or {})),
    }
    content = save(tensors, metadata=header)
    write_atomically(path, lambda file: file.write(content))


def load_weights(source: str | Path) -> Weights:
    """Load the weights of a `source` as in `resolve_weights`.

    Returns:
        state: parameters and buffers on the CPU, floating ones as float32; of a checkpoint the averaged ones (EMA).
        model_config: the fields of `config.ModelConfig`.
        metadata: what `save_weights` was given; of a checkpoint {"checkpoint", "step", "best"}.

    Raises: UserError if they are missing, damaged, or of another format.
    """
    path = resolve_weights(source)
    state, model_config, metadata = (_read_checkpoint if path.suffix == ".ckpt" else _read_safetensors)(path)
    full = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    return full, model_config, metadata


def _read_safetensors(path: Path) -> Weights:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a handle, not a mapping)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
    if "model_config" not in header:
        raise UserError(f"{path}: found no 'model_config' in its metadata, expected weights written by superpoint")
    version = header.get("superpoint_weights")
    if version != FORMAT_VERSION:
        raise UserError(f"{path}: found weight format {version}, expected {FORMAT_VERSION}")
    try:
        model_config, metadata = (dict(json.loads(header.get(key, "{}"))) for key in ("model_config", "metadata"))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: its metadata is no mapping in JSON ({error})") from error
    return state, model_config, metadata


def _read_checkpoint(path: Path) -> Weights:
    checkpoint = load_checkpoint(path)
    try:
        config = yaml.safe_load(checkpoint["config"]) if isinstance(checkpoint["config"], str) else None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: the configuration it holds is not YAML, the file is damaged") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise UserError(f"{path}: found no section 'model' in the configuration it holds")
    averaged = checkpoint["ema"]
    state = averaged if isinstance(averaged, dict) and averaged else checkpoint["model"]
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(f"{path}: found no weights in it, expected tensors by name")
    metadata = {"checkpoint": path.name, "step": checkpoint["step"], "best": checkpoint["best"]}
    return state, config["model"], metadata


def load_network(source: str | Path) -> SuperPoint:
    """Load the network of a `source` as in `resolve_weights`, on the CPU, in evaluation mode and channels_last.

    Raises: UserError if there are no weights, they are damaged, or they fit no architecture known here.
    """
    state, model_config, _ = load_weights(source)
    model = model_from_state(state, model_config, source)
    return model.eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def model_from_state(state: Mapping[str, Tensor], model_config: Mapping[str, Any], source: str | Path) -> SuperPoint:
    """Build a network from what `load_weights` returned. Raises: UserError if it fits no architecture known here."""
    unknown = set(model_config) - {field.name for field in fields(ModelConfig)}
    if "input_dim" in unknown:
        hint = f"a matcher goes with --matcher lightglue:{source}, or export-model --format lightglue"
        raise UserError(f"{source}: found a matcher, expected a network; {hint}")
    if unknown:
        raise UserError(f"{source}: its model_config has a key '{min(unknown)}' that this version does not know")
    try:
        config = ModelConfig(**model_config)
    except TypeError as error:
        raise UserError(f"{source}: its model_config cannot be used ({error})") from error
    model = build_model(config, pretrained=False)
    load_model_state(model, state, source)
    return model


def export_weights(
    source: str | Path, out: str | Path, *, half: bool = False, metadata: Mapping[str, Any] | None = None
) -> Path:
    """Write the (averaged) weights of a network or matcher, a `source` as in `resolve_weights`, to a file to share.

    Raises: UserError if there are none, they fit no known architecture, or the target is no .safetensors file.
    """
    out = check_target(out)
    state, model_config, found = load_weights(source)
    if "input_dim" in model_config:
        from superpoint.models.lightglue import matcher_from_state  # kornia: slow to import

        model = matcher_from_state(state, model_config, source)
    else:
        model = model_from_state(state, model_config, source)
    kept = {key: value for key, value in found.items() if key != "checkpoint"}
    save_weights(out, model, model_config, {**kept, **(metadata or {})}, half=half)
    print(f"weights: {out}")
    return out


def check_target(out: str | Path) -> Path:
    """Return `out` as a path. Raises: UserError unless it ends in .safetensors and its folder exists."""
    out = Path(out)
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: expected a file name that ends in .safetensors")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder")
    return out


def model_hash(model: nn.Module) -> str:
    """Return 16 hexadecimal digits of the weights and their names, whatever their device and memory format."""
    digest = hashlib.sha256()
    for name, tensor in sorted(getattr(model, "_orig_mod", model).state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(json.dumps([name, list(values.shape), str(values.dtype)]).encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]


def load_model_state(model: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy `state` into `model`. Raises: UserError, before any change, if a name or shape differs; names `source`."""
    model = getattr(model, "_orig_mod", model)
    expected = model.state_dict()
    for name in [*expected, *state]:
        found, wanted = (list(each[name].shape) if name in each else None for each in (state, expected))
        if found != wanted:
            what = f"no '{name}', expected shape {wanted}"
            if found is not None:
                what = f"'{name}' of shape {found}, expected {'no such name' if wanted is None else wanted}"
            raise UserError(f"{source}: another architecture: found {what}")
    model.load_state_dict(state)
