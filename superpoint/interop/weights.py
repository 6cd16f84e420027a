"""Weights of SuperPoint in the public key layouts (LAYOUTS), converted to ours.

A file may wrap the names: {"state_dict": ...}, {"model_state_dict": ...}, "module.", "model._orig_mod." and the like.
Of several copies the averaged one (EMA) is taken. A converted file stays under the licence of its source.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from superpoint.backbones.pretrained import read_content
from superpoint.backbones.vgg import ORIGINAL_EPS
from superpoint.config import ModelConfig
from superpoint.errors import UserError
from superpoint.export.plain import LAYERS
from superpoint.geometry.cells import CHANNELS
from superpoint.models.superpoint import SuperPoint, build_model
from superpoint.models.weights import check_target, save_weights

DEPTH = 8  # of wrappers in one another
WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod)\.")  # DataParallel, torch.compile: anywhere in a name
AVERAGED = re.compile(r"(?<![^._])(?:ema|averaged|swa)(?![^._])")
HEAD_EPS = 1e-5  # of the batch norms in our heads
SHOWN = 3  # tensors that an error names
BLOCKS = [f"{stage}{layer}" for stage in "1234" for layer in "ab"]
HEADS = ["Pa", "Pb", "Da", "Db"]
WIDTHS = [1, 64, 64, 64, 64, 128, 128, 128, 128]  # of the encoder's layers, the image first
ENCODER, HIDDEN = range(8), (8, 10)  # layers
DETECTOR_ONLY = 10  # layers of a network without descriptors
LICENCE = (
    "{} stays under its licence, and so does what is made of it. The weights published with the paper "
    "(magicleap/SuperPointPretrainedNetwork, on Hugging Face magic-leap-community/superpoint) are for non-commercial "
    "research only."
)


class Layout(NamedTuple):
    """Names of the convolutions (eight of the encoder, two of each head) and of the batch norms at the same layers.

    late: layers whose norms lie behind the ReLUs. Files without any norm may use the names too. mark: a name that only
    this layout has; by default its first convolution.
    """

    convolutions: list[str]
    norms: list[str]
    late: tuple[int, ...] = ()
    eps: float = 1e-5
    mark: str = ""

    @property
    def first(self) -> str:
        return self.mark or f"{self.convolutions[0]}.weight"


_PORT = [f"backbone.{i // 2}.{i % 2}" for i in ENCODER]
_PORT += [f"{head}.{i}" for head in ("detector", "descriptor") for i in range(2)]
_STAGES = ["inc.conv.conv", *(f"down{stage}.mpconv.1.conv" for stage in (1, 2, 3))]
_UNET = Layout(
    [*(f"{stage}.{i}" for stage in _STAGES for i in (0, 3)), *(f"conv{head}" for head in HEADS)],
    [*(f"{stage}.{i}" for stage in _STAGES for i in (1, 4)), *(f"bn{head}" for head in HEADS)],
)
_BLOCKS = [f"backbone.block{stage}_{i}" for stage in (1, 2, 3, 4) for i in (1, 2)]
_HEADS = [f"{'detector' if head[0] == 'P' else 'descriptor'}_head.{{}}{head}" for head in HEADS]
LAYOUTS = {
    # magicleap/SuperPointPretrainedNetwork; with norms, in others' programs
    "original": Layout([*LAYERS["superpoint-v1"]], [f"bn{name}" for name in BLOCKS + HEADS]),
    # rpautrat/SuperPoint, under the MIT licence; others use the same layout under licences of their own
    "port": Layout(
        [f"{layer}.conv" for layer in _PORT], [f"{layer}.bn" for layer in _PORT], (*ENCODER, *HIDDEN), ORIGINAL_EPS
    ),
    "transformers": Layout([*LAYERS["transformers"]], []),  # Hugging Face, SuperPointForKeypointDetection
    # eric-yyjau/pytorch-superpoint: SuperPointNet_gauss, whose decoder is not used, and SuperPointNet_gauss2
    "unet-up": _UNET._replace(late=HIDDEN, mark="up1.conv.conv.0.weight"),
    "unet": _UNET,
    "blocks": Layout(  # shaofengzeng/SuperPoint-Pytorch
        [*(f"{block}.0" for block in _BLOCKS), *(head.format("conv") for head in _HEADS)],
        [*(f"{block}.2" for block in _BLOCKS), *(head.format("bn") for head in _HEADS)],
        (*ENCODER, *HIDDEN),
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
    layers = _convert(state, LAYOUTS[name], path)
    described = "descriptor.descriptor.weight" in layers
    config = ModelConfig(
        encoder="vgg-original",
        head_channels=len(layers["detector.hidden.0.weight"]),
        descriptor_dim=len(layers["descriptor.descriptor.weight"]) if described else 0,
    )
    model = build_model(config)
    model.load_state_dict({**model.state_dict(), **layers})
    return model.eval(), config, name


def convert_weights_file(source: str | Path, out: str | Path) -> Path:
    """Write the weights of `source` as a weights file, and print its licence.

    Raises: UserError as `convert_weights`, or if the target is no .safetensors file or cannot be written.
    """
    out = check_target(out)
    model, config, layout = convert_weights(source)
    licence = LICENCE.format(Path(source).name)
    found = {"layout": layout, "licence": licence, "converted_from": Path(source).name}
    save_weights(out, model, asdict(config), found)
    print(f"weights: {out} ({layout} layout)\nlicence: {licence}")
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
    """A convolution, a ReLU if one follows, then `scale` x + `shift`; float64."""

    weight: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor


def _convert(state: Mapping[str, Tensor], layout: Layout, path: Path) -> dict[str, Tensor]:
    """Return the parameters of our network, float32."""
    described = any(key.startswith(f"{layout.convolutions[DETECTOR_ONLY]}.") for key in state)
    layers: list[_Layer] = []
    for index in range(len(layout.convolutions) if described else DETECTOR_ONLY):
        layers.append(_layer(state, layout, index, layers, path))
    result: dict[str, Tensor] = {}
    for index, layer in enumerate(layers[: len(ENCODER)]):
        target = f"encoder.stages.{index // 2}.{index % 2}"
        result |= {f"{target}.0.weight": layer.weight, f"{target}.0.bias": layer.bias}
        result |= _norm(f"{target}.2", layer.scale, layer.shift, ORIGINAL_EPS)
    heads = zip(("detector", "descriptor"), ("logits", "descriptor"), layers[8::2], layers[9::2], strict=False)
    for head, output, hidden, last in heads:
        result[f"{head}.hidden.0.weight"] = hidden.weight
        result |= _norm(f"{head}.hidden.1", torch.ones_like(hidden.bias), hidden.bias, HEAD_EPS)
        # A 1x1 convolution pads nothing, so the norm before it folds into it exactly.
        result[f"{head}.{output}.weight"] = last.weight * hidden.scale[:, None, None]
        result[f"{head}.{output}.bias"] = last.bias + last.weight[:, :, 0, 0] @ hidden.shift
    return {key: each.float() for key, each in result.items()}


def _layer(state: Mapping[str, Tensor], layout: Layout, index: int, before: list[_Layer], path: Path) -> _Layer:
    """Return a layer, its norm folded into the convolution unless a ReLU lies between them."""

    def take(name: str, *expected: int | None) -> Tensor:
        if name not in state:
            raise UserError(f"{path}: found no '{name}', expected detector and descriptor of SuperPoint")
        shape = list(state[name].shape)
        if len(shape) != len(expected) or not all(a == (b or a) > 0 for a, b in zip(shape, expected, strict=True)):
            wanted = ", ".join("any" if size is None else str(size) for size in expected)
            raise UserError(f"{path}: found '{name}' of shape {shape}, expected [{wanted}], as in the paper")
        return state[name].double()

    shapes = [(b, a, 3, 3) for a, b in pairwise(WIDTHS)]
    width = len(before[8].weight) if len(before) > 8 else None  # of the heads
    shapes += [(width, 128, 3, 3), (CHANNELS, width, 1, 1), (width, 128, 3, 3), (None, width, 1, 1)]
    name = layout.convolutions[index]
    weight = take(f"{name}.weight", *shapes[index])
    one, zero = torch.ones(len(weight)).double(), torch.zeros(len(weight)).double()
    if not any(key.endswith("running_mean") for key in state):
        return _Layer(weight, take(f"{name}.bias", len(weight)), one, zero)
    bias = take(f"{name}.bias", len(weight)) if f"{name}.bias" in state else zero
    keys = ("weight", "bias", "running_mean", "running_var")
    scale, shift, mean, variance = (take(f"{layout.norms[index]}.{key}", len(weight)) for key in keys)
    scale = scale / (variance + layout.eps).sqrt()
    shift = shift - mean * scale
    if index in layout.late:
        return _Layer(weight, bias, scale, shift)
    return _Layer(weight * scale[:, None, None, None], bias * scale + shift, one, zero)


def _norm(target: str, scale: Tensor, shift: Tensor, eps: float) -> dict[str, Tensor]:
    """Return a batch norm that computes `scale` x + `shift`."""
    values = (scale, shift, torch.zeros_like(shift), torch.full_like(shift, 1 - eps))
    keys = ("weight", "bias", "running_mean", "running_var")
    return {f"{target}.{key}": each for key, each in zip(keys, values, strict=True)}
