"""Weights of SuperPoint in the two public key layouts, converted to ours.

    conv1a.weight ... convDb.bias                      the paper's authors: no batch norm
    backbone.0.0.conv.weight ... descriptor.1.bn.bias  the open PyTorch port: batch norm behind each ReLU

A converted file stays under the licence of its source.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from superpoint.backbones.pretrained import read_state
from superpoint.backbones.vgg import ORIGINAL_EPS
from superpoint.config import ModelConfig
from superpoint.errors import UserError
from superpoint.models.superpoint import SuperPoint, build_model
from superpoint.models.weights import check_target, save_weights

LICENCES = {
    "original": "The weights published with the paper (magicleap/SuperPointPretrainedNetwork) are licensed for "
    "non-commercial research only.",
    "port": "rpautrat/SuperPoint publishes code and weights under the MIT licence; others use the same layout under "
    "licences of their own.",
}
ENCODER = ("1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b")
HEADS = {"detector": ("Pa", "Pb", "logits"), "descriptor": ("Da", "Db", "descriptor")}


def convert_weights(path: str | Path) -> tuple[SuperPoint, ModelConfig, str]:
    """Return the equivalent network, its configuration and the layout ("original" or "port") of a state_dict file.

    Args:
        path: .pth, .pt or .safetensors, read without executing anything.

    Raises: UserError if the file is missing, unreadable, or of another layout or architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected weights of SuperPoint (.pth, .pt or .safetensors)")
    state = read_state(path)
    if "conv1a.weight" in state:
        layout, layers = "original", _original_layers(state, path)
    elif "backbone.0.0.conv.weight" in state:
        layout, layers = "port", _port_layers(state, path)
    else:
        raise UserError(
            f"{path}: found keys such as '{next(iter(state), '')}', expected conv1a.weight ... convDb.bias or "
            "backbone.0.0.conv.weight ... descriptor.1.bn.bias"
        )
    weight = layers["descriptor.descriptor.weight"]
    config = ModelConfig(encoder="vgg-original", head_channels=weight.shape[1], descriptor_dim=weight.shape[0])
    model = build_model(config)
    expected = model.state_dict()
    for name, tensor in layers.items():
        if tensor.shape != expected[name].shape:
            raise UserError(
                f"{path}: found a layer of shape {list(tensor.shape)} for '{name}', expected "
                f"{list(expected[name].shape)}: widths 64, 64, 128, 128 as in the paper"
            )
    model.load_state_dict({**expected, **layers})
    return model.eval(), config, layout


def convert_weights_file(source: str | Path, out: str | Path) -> Path:
    """Write the weights of `source` as a weights file, and print its licence.

    Raises: UserError as `convert_weights`, or if the target is no .safetensors file or cannot be written.
    """
    out = check_target(out)
    model, config, layout = convert_weights(source)
    notes = {"layout": layout, "licence": LICENCES[layout], "converted_from": Path(source).name}
    save_weights(out, model, asdict(config), notes)
    print(f"weights: {out} ({layout} layout)")
    print(f"licence: the converted file stays under the licence of {Path(source).name}. {LICENCES[layout]}")
    return out


def _original_layers(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    layers: dict[str, Tensor] = {}
    for index, name in enumerate(ENCODER):
        target = f"encoder.stages.{index // 2}.{index % 2}"
        layers |= _convolution(state, f"conv{name}", f"{target}.0", path)
        # The norm of a new model changes nothing, apart from its eps.
        layers[f"{target}.2.running_var"] = torch.ones_like(layers[f"{target}.0.bias"]) - ORIGINAL_EPS
    for head, (hidden, last, target) in HEADS.items():
        layers[f"{head}.hidden.0.weight"] = _take(state, f"conv{hidden}.weight", path)
        layers |= _norm(f"{head}.hidden.1", _take(state, f"conv{hidden}.bias", path))
        layers |= _convolution(state, f"conv{last}", f"{head}.{target}", path)
    return layers


def _port_layers(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    layers: dict[str, Tensor] = {}
    for index in range(8):
        source, target = f"backbone.{index // 2}.{index % 2}", f"encoder.stages.{index // 2}.{index % 2}"
        layers |= _convolution(state, f"{source}.conv", f"{target}.0", path)
        for name in ("weight", "bias", "running_mean", "running_var"):
            layers[f"{target}.2.{name}"] = _take(state, f"{source}.bn.{name}", path)
    for head, (_, _, target) in HEADS.items():
        layers[f"{head}.hidden.0.weight"] = _take(state, f"{head}.0.conv.weight", path)
        layers |= _norm(f"{head}.hidden.1", _take(state, f"{head}.0.conv.bias", path))
        weight, bias = (_take(state, f"{head}.1.conv.{name}", path) for name in ("weight", "bias"))
        # A 1x1 convolution pads nothing, so the norms before and behind it fold into it exactly.
        scale, shift = _affine(state, f"{head}.0.bn", path)
        last_scale, last_shift = _affine(state, f"{head}.1.bn", path)
        if weight.ndim != 4 or weight.shape[1] != len(scale) or weight.shape[0] != len(last_scale):
            raise UserError(
                f"{path}: found '{head}.1.conv.weight' of shape {list(weight.shape)}, expected "
                f"[{len(last_scale)}, {len(scale)}, 1, 1]"
            )
        matrix = weight[:, :, 0, 0].double()
        layers[f"{head}.{target}.weight"] = (last_scale[:, None] * matrix * scale)[..., None, None].float()
        layers[f"{head}.{target}.bias"] = (last_scale * (matrix @ shift + bias.double()) + last_shift).float()
    return layers


def _take(state: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    if name not in state:
        raise UserError(f"{path}: found no '{name}', expected detector and descriptor of SuperPoint")
    return state[name]


def _convolution(state: Mapping[str, Tensor], source: str, target: str, path: Path) -> dict[str, Tensor]:
    return {f"{target}.{name}": _take(state, f"{source}.{name}", path) for name in ("weight", "bias")}


def _affine(state: Mapping[str, Tensor], source: str, path: Path) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a batch norm with its running statistics, float64."""
    weight, bias, mean, var = (
        _take(state, f"{source}.{name}", path).double() for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / (var + ORIGINAL_EPS).sqrt()
    return scale, bias - mean * scale


def _norm(target: str, bias: Tensor) -> dict[str, Tensor]:
    """Return a batch norm that adds a bias, which the convolutions of our heads lack, to a new model's norm."""
    return {f"{target}.bias": bias, f"{target}.running_var": torch.ones_like(bias) - 1e-5}
