"""Weights for use and sharing: safetensors with the model's configuration inside, read without executing anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from superpoint.errors import UserError
from superpoint.files import write_atomically

FORMAT_VERSION = "1"
PRETRAINED = Path(__file__).parents[1] / "pretrained"  # weights that ship with the package


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
        path: the file, by custom `*.safetensors`; its folder must exist.
        model: on any device, in any memory format; a compiled model is written under its own names.
        model_config: what rebuilds the model, the fields of `config.ModelConfig`.
        metadata: JSON values worth keeping, such as the run, its metrics, the licence of the training images.
        half: store weights of two and more dimensions as float16. Vectors (biases, batch statistics) stay float32: they
            are few, and variances may be too small for float16.

    Raises:
        UserError: the file cannot be written, or a value is too large for float16.
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


def pretrained_names() -> list[str]:
    """Names of the released weights, for `load_weights`."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def load_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Read weights from a weight file, a training checkpoint or a run folder.

    Args:
        path: `*.safetensors`, `*.ckpt`, the name of released weights (`pretrained_names`), or a run folder, which
            stands for its checkpoints/best.ckpt, else checkpoints/last.ckpt, else weights.safetensors. A file or run
            goes before released weights of that name; another folder, such as this package's own, does not.

    Returns:
        state: parameters and buffers on the CPU, floating ones as float32. Of a checkpoint the averaged ones (EMA) if
            there are any.
        model_config: the fields of `config.ModelConfig`.
        metadata: what `save_weights` was given; of a checkpoint {"checkpoint", "step", "best"}.

    Raises:
        UserError: missing, truncated, not such a file, or of a newer format.
    """
    path = Path(path)
    if str(path) in pretrained_names() and not path.is_file() and not _checkpoints_of(path):
        path = PRETRAINED / f"{path}.safetensors"
    if path.is_dir():
        path = _checkpoint_of(path)
    if not path.is_file():
        names = ", ".join(pretrained_names()) or "none"
        raise UserError(
            f"{path}: no such file, expected weights (.safetensors), a checkpoint (.ckpt), a run folder or the name of "
            f"released weights ({names})"
        )
    if path.suffix == ".ckpt":
        return _load_from_checkpoint(path)
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
        model_config, metadata = json.loads(header["model_config"]), json.loads(header.get("metadata", "{}"))
    except ValueError as error:
        raise UserError(f"{path}: its metadata is not JSON ({error})") from error
    if not isinstance(model_config, dict) or not isinstance(metadata, dict):
        raise UserError(f"{path}: its metadata is no mapping, expected weights written by superpoint")
    return {name: _full_precision(tensor) for name, tensor in state.items()}, model_config, metadata


def model_hash(model: nn.Module) -> str:
    """16 hexadecimal digits that change with any weight or name of a layer; device and memory format do not count."""
    digest = hashlib.sha256()
    for name, tensor in sorted(getattr(model, "_orig_mod", model).state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(json.dumps([name, list(values.shape), str(values.dtype)]).encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]


def load_model_state(model: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy `state` into `model`; every name and shape must match.

    Raises:
        UserError: another architecture; names `source` and the first parameter that does not fit, with both shapes. The
            model is unchanged then.
    """
    model = getattr(model, "_orig_mod", model)
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            raise UserError(f"{source}: another architecture: found no '{name}', expected shape {list(tensor.shape)}")
        if state[name].shape != tensor.shape:
            raise UserError(
                f"{source}: another architecture: found '{name}' of shape {list(state[name].shape)}, "
                f"expected {list(tensor.shape)}"
            )
    for name, tensor in state.items():
        if name not in expected:
            raise UserError(
                f"{source}: another architecture: found '{name}' of shape {list(tensor.shape)}, expected no such name"
            )
    model.load_state_dict(state)


def _full_precision(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _checkpoints_of(run: Path) -> list[Path]:
    names = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "weights.safetensors")
    return [run / name for name in names if (run / name).is_file()]


def _checkpoint_of(run: Path) -> Path:
    found = _checkpoints_of(run)
    if found:
        return found[0]
    raise UserError(
        f"{run}: found no checkpoint, expected checkpoints/best.ckpt, checkpoints/last.ckpt or weights.safetensors"
    )


def _load_from_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    from superpoint.models.checkpoint import load_checkpoint  # here, so that the library does not import the engine

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
    return {name: _full_precision(tensor) for name, tensor in state.items()}, config["model"], metadata
