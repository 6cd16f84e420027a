"""Weights of SuperPoint in the public key layouts (LAYOUTS), converted to ours.

A file may wrap the names: {"state_dict": ...}, {"model_state_dict": ...}, "module.", "model._orig_mod." and the like.
Of several copies the averaged one (EMA) is taken. A converted file stays under the licence of its source.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from superpoint.backbones.pretrained import read_content
from superpoint.backbones.vgg import ORIGINAL_EPS
from superpoint.config import ModelConfig
from superpoint.errors import UserError, one_line
from superpoint.export.plain import LAYERS
from superpoint.models.superpoint import SuperPoint, build_model
from superpoint.models.weights import check_target, save_weights

DEPTH = 8  # of wrappers in one another
WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod)\.")  # DataParallel, torch.compile: anywhere in a name
AVERAGED = re.compile(r"(?<![^._])(?:ema|averaged|swa)(?![^._])")
HEAD_EPS = 1e-5  # of the batch norms in our heads
SHOWN = 3  # tensors that an error names
BLOCKS = [f"{stage}{layer}" for stage in "1234" for layer in "ab"]
HEADS = ["Pa", "Pb", "Da", "Db"]
DETECTOR_ONLY = 10  # convolutions of a network without descriptors
OTHERS = "Weights in this layout are published under several licences: see where the file comes from."


class Layout(NamedTuple):
    """Names of the convolutions (eight of the encoder, two of each head) and of the batch norms at the same layers.

    relu_first: whether the norms lie behind the ReLUs, in the encoder and in the heads. Files without any norm may use
    the names too. mark: a name that only this layout has; by default its first convolution.
    """

    convolutions: list[str]
    norms: list[str]
    relu_first: tuple[bool, bool] = (False, False)
    eps: float = 1e-5
    mark: str = ""
    licence: str = OTHERS

    @property
    def first(self) -> str:
        return self.mark or f"{self.convolutions[0]}.weight"


_PORT = [f"backbone.{i // 2}.{i % 2}" for i in range(8)]
_PORT += [f"{head}.{i}" for head in ("detector", "descriptor") for i in range(2)]
_STAGES = ["inc.conv.conv", *(f"down{stage}.mpconv.1.conv" for stage in (1, 2, 3))]
_UNET = Layout(
    [*(f"{stage}.{i}" for stage in _STAGES for i in (0, 3)), *(f"conv{head}" for head in HEADS)],
    [*(f"{stage}.{i}" for stage in _STAGES for i in (1, 4)), *(f"bn{head}" for head in HEADS)],
)
_BLOCKS = [f"backbone.block{stage}_{i}" for stage in (1, 2, 3, 4) for i in (1, 2)]
_HEADS = [f"{'detector' if head[0] == 'P' else 'descriptor'}_head.{{}}{head}" for head in HEADS]
LAYOUTS = {
    "original": Layout(  # magicleap/SuperPointPretrainedNetwork; with norms, in others' programs
        [*LAYERS["superpoint-v1"]],
        [f"bn{name}" for name in BLOCKS + HEADS],
        licence="The weights published with the paper (magicleap/SuperPointPretrainedNetwork) are licensed for "
        "non-commercial research only.",
    ),
    "port": Layout(
        [f"{layer}.conv" for layer in _PORT],
        [f"{layer}.bn" for layer in _PORT],
        relu_first=(True, True),
        eps=ORIGINAL_EPS,
        licence="rpautrat/SuperPoint publishes code and weights under the MIT licence; others use the same layout "
        "under licences of their own.",
    ),
    "transformers": Layout(  # Hugging Face, SuperPointForKeypointDetection
        [*LAYERS["transformers"]],
        [],
        licence="Hugging Face's magic-leap-community/superpoint holds the weights published with the paper, which are "
        "licensed for non-commercial research only.",
    ),
    # eric-yyjau/pytorch-superpoint: SuperPointNet_gauss, whose decoder is not used, and SuperPointNet_gauss2
    "unet-up": _UNET._replace(relu_first=(False, True), mark="up1.conv.conv.0.weight"),
    "unet": _UNET,
    "blocks": Layout(  # shaofengzeng/SuperPoint-Pytorch
        [*(f"{block}.0" for block in _BLOCKS), *(head.format("conv") for head in _HEADS)],
        [*(f"{block}.2" for block in _BLOCKS), *(head.format("bn") for head in _HEADS)],
        relu_first=(True, True),
    ),
}


def convert_weights(path: str | Path) -> tuple[SuperPoint, ModelConfig, str]:
    """Return the equivalent network, its configuration and the name of the layout of a file of weights.

    Args:
        path: .pth, .pt, .ckpt or .safetensors, or a folder with Hugging Face's model.safetensors or pytorch_model.bin;
            read without executing anything.

    Raises: UserError if the file is missing, unreadable, or of another layout or architecture.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file, expected weights of SuperPoint (.pth, .pt or .safetensors)")
    name, state = _find(_flatten(read_content(path)), path)
    try:
        layers = _convert(state, LAYOUTS[name], path)
    except (RuntimeError, IndexError) as error:
        raise UserError(f"{path}: found layers that do not fit each other ({one_line(error)})") from error
    described = "descriptor.descriptor.weight" in layers
    config = ModelConfig(
        encoder="vgg-original",
        head_channels=len(layers["detector.hidden.0.weight"]),
        descriptor_dim=len(layers["descriptor.descriptor.weight"]) if described else 0,
    )
    model = build_model(config)
    expected = model.state_dict()
    for key, tensor in layers.items():
        if tensor.shape != expected[key].shape:
            raise UserError(
                f"{path}: found a layer of shape {list(tensor.shape)} for '{key}', expected "
                f"{list(expected[key].shape)}: widths 64, 64, 128, 128 as in the paper"
            )
    model.load_state_dict({**expected, **layers})
    return model.eval(), config, name


def convert_weights_file(source: str | Path, out: str | Path) -> Path:
    """Write the weights of `source` as a weights file, and print its licence.

    Raises: UserError as `convert_weights`, or if the target is no .safetensors file or cannot be written.
    """
    out = check_target(out)
    model, config, layout = convert_weights(source)
    licence = LAYOUTS[layout].licence
    save_weights(
        out, model, asdict(config), {"layout": layout, "licence": licence, "converted_from": Path(source).name}
    )
    print(f"weights: {out} ({layout} layout)")
    print(f"licence: the converted file stays under the licence of {Path(source).name}. {licence}")
    return out


def _flatten(content: object, prefix: str = "", depth: int = DEPTH) -> dict[str, Tensor]:
    """Return the tensors of nested mappings by their dotted names."""
    if isinstance(content, Tensor):
        return {WRAPPERS.sub("", prefix): content}
    found: dict[str, Tensor] = {}
    if isinstance(content, Mapping) and depth:
        for key, value in content.items():
            found |= _flatten(value, f"{prefix}.{key}" if prefix else str(key), depth - 1)
    return found


def _find(tensors: Mapping[str, Tensor], path: Path) -> tuple[str, dict[str, Tensor]]:
    """Return the layout of `tensors` and those that belong to it, by the layout's names."""
    for name, layout in LAYOUTS.items():
        ending = re.compile(rf"(?:.*\.)?(?={re.escape(layout.first)}$)")
        copies = [match[0] for key in tensors if (match := ending.match(key))]
        copies = [copy for copy in copies if AVERAGED.search(copy)] or copies
        if len(copies) > 1:
            raise UserError(f"{path}: found several networks, below {' and '.join(map(repr, copies))}, expected one")
        if copies:
            prefix = copies[0]
            return name, {key.removeprefix(prefix): each for key, each in tensors.items() if key.startswith(prefix)}
    shown = ", ".join(f"{key} {list(each.shape)}" for key, each in list(tensors.items())[:SHOWN])
    raise UserError(
        f"{path}: found {len(tensors)} tensors{f', first: {shown}' if shown else ''}, expected weights of SuperPoint, "
        f"one of {', '.join(layout.first for layout in LAYOUTS.values())} among them"
    )


class _Layer(NamedTuple):
    """A convolution, and the norm at the same layer as `scale` x + `shift`; float64."""

    weight: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the convolution with the norm right behind it."""
        return self.weight * self.scale[:, None, None, None], self.bias * self.scale + self.shift


def _convert(state: Mapping[str, Tensor], layout: Layout, path: Path) -> dict[str, Tensor]:
    """Return the parameters of our network, float32."""
    normed = any(key.endswith("running_mean") for key in state)
    described = any(key.startswith(f"{layout.convolutions[DETECTOR_ONLY]}.") for key in state)
    count = len(layout.convolutions) if described else DETECTOR_ONLY
    layers = [_layer(state, layout, index, normed, path) for index in range(count)]
    result: dict[str, Tensor] = {}
    for index, layer in enumerate(layers[: len(BLOCKS)]):
        target = f"encoder.stages.{index // 2}.{index % 2}"
        weight, bias = (layer.weight, layer.bias) if layout.relu_first[0] else layer.folded()
        result |= {f"{target}.0.weight": weight, f"{target}.0.bias": bias}
        scale, shift = (layer.scale, layer.shift) if layout.relu_first[0] else (None, torch.zeros_like(bias))
        result |= _norm(f"{target}.2", scale, shift, ORIGINAL_EPS)
    heads = zip(("detector", "descriptor"), ("logits", "descriptor"), layers[8::2], layers[9::2], strict=False)
    for head, output, hidden, last in heads:
        result[f"{head}.hidden.0.weight"] = hidden.weight
        weight, bias = last.folded()
        if layout.relu_first[1]:  # a 1x1 convolution pads nothing, so the norm before it folds into it exactly
            bias = bias + weight[:, :, 0, 0] @ hidden.shift
            weight = weight * hidden.scale[:, None, None]
            result |= _norm(f"{head}.hidden.1", None, hidden.bias, HEAD_EPS)
        else:
            result |= _norm(f"{head}.hidden.1", hidden.scale, hidden.bias * hidden.scale + hidden.shift, HEAD_EPS)
        result |= {f"{head}.{output}.weight": weight, f"{head}.{output}.bias": bias}
    return {key: each.float() for key, each in result.items()}


def _layer(state: Mapping[str, Tensor], layout: Layout, index: int, normed: bool, path: Path) -> _Layer:
    def take(name: str, dims: int = 1) -> Tensor:
        if name not in state:
            raise UserError(f"{path}: found no '{name}', expected detector and descriptor of SuperPoint")
        if state[name].ndim != dims or (dims == 1 and len(state[name]) != len(weight)):
            expected = "[out, in, height, width]" if dims == 4 else f"[{len(weight)}]"
            raise UserError(f"{path}: found '{name}' of shape {list(state[name].shape)}, expected {expected}")
        return state[name].double()

    name = layout.convolutions[index]
    weight = take(f"{name}.weight", 4)
    ones = torch.ones(len(weight), dtype=torch.float64)
    if not normed:
        return _Layer(weight, take(f"{name}.bias"), ones, torch.zeros_like(ones))
    bias = take(f"{name}.bias") if f"{name}.bias" in state else torch.zeros_like(ones)
    keys = ("weight", "bias", "running_mean", "running_var")
    scale, shift, mean, variance = (take(f"{layout.norms[index]}.{key}") for key in keys)
    scale = scale / (variance + layout.eps).sqrt()
    return _Layer(weight, bias, scale, shift - mean * scale)


def _norm(target: str, scale: Tensor | None, shift: Tensor, eps: float) -> dict[str, Tensor]:
    """Return a batch norm that computes `scale` x + `shift`; None = 1."""
    one = torch.ones_like(shift)
    values = (one if scale is None else scale, shift, torch.zeros_like(shift), one - eps)
    return {
        f"{target}.{key}": each
        for key, each in zip(("weight", "bias", "running_mean", "running_var"), values, strict=True)
    }
