"""Classifiers by name: the small networks of the studies, and `superpoint.backbones.classifiers`."""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from superpoint.backbones import classifiers as backbones
from superpoint.backbones.classifiers import CLASSIFIERS
from superpoint.backbones.initialisation import initialise_weights
from superpoint.backbones.pretrained import check_names, read_state
from superpoint.errors import check_one_of

SMALL = 0.01  # deviation of the last layer's weights: logits of about 0.1, so that the first loss is ln(classes)
HIDDEN = 784
WIDTHS = (32, 64, 128, 256)


class FullyConnected(nn.Sequential):
    """One hidden layer of 784 units. Input float [B, C, H, W] of exactly the size given, output logits [B, K]."""

    def __init__(self, num_classes: int, in_channels: int, size: tuple[int, int], *, dropout: float = 0.0) -> None:
        layers = {"flatten": nn.Flatten(), "hidden": nn.Linear(in_channels * size[0] * size[1], HIDDEN)}
        layers |= {"relu": nn.ReLU(inplace=True), "dropout": nn.Dropout(dropout)}
        super().__init__(OrderedDict(layers | {"fc": nn.Linear(HIDDEN, num_classes)}))


class TwoConvolutions(nn.Sequential):
    """Two 3x3 convolutions to 8 and 16 channels, with ReLU and 2x2 pooling, and a matrix. Input as `FullyConnected`."""

    def __init__(self, num_classes: int, in_channels: int, size: tuple[int, int], *, dropout: float = 0.0) -> None:
        layers = {"conv1": nn.Conv2d(in_channels, 8, 3, padding=1), "relu1": nn.ReLU(inplace=True)}
        layers |= {"pool1": nn.MaxPool2d(2), "conv2": nn.Conv2d(8, 16, 3, padding=1), "relu2": nn.ReLU(inplace=True)}
        layers |= {"pool2": nn.MaxPool2d(2), "flatten": nn.Flatten(), "dropout": nn.Dropout(dropout)}
        features = 16 * (size[0] // 4) * (size[1] // 4)
        super().__init__(OrderedDict(layers | {"fc": nn.Linear(features, num_classes)}))


class SmallNet(nn.Sequential):
    """Four pairs of 3x3 convolutions, 32-64-128-256 channels wide, with pooling between, then a global average.

    1.17 M parameters, 0.2 GFLOPs at 64 x 64; for images from 32 x 32 on.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, *, batch_norm: bool = True, dropout: float = 0.0
    ) -> None:
        stages, channels = [], in_channels
        for width in WIDTHS:
            layers: list[nn.Module] = [] if not stages else [nn.MaxPool2d(2)]
            for _ in range(2):
                layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm))
                layers += [nn.BatchNorm2d(width)] if batch_norm else []
                layers.append(nn.ReLU(inplace=True))
                channels = width
            stages.append(nn.Sequential(*layers))
        parts = {"features": nn.Sequential(*stages), "pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        super().__init__(OrderedDict(parts | {"dropout": nn.Dropout(dropout), "fc": nn.Linear(channels, num_classes)}))


SIZED: dict[str, Callable[..., nn.Module]] = {"fully_connected": FullyConnected, "two_convolutions": TwoConvolutions}
OWN: dict[str, Callable[..., nn.Module]] = {**SIZED, "small": SmallNet}


def classifier_names() -> list[str]:
    return [*OWN, *CLASSIFIERS]


def build_classifier(
    name: str,
    num_classes: int,
    channels: int = 3,
    size: tuple[int, int] = (224, 224),
    *,
    init: str = "kaiming",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build a classifier of float32 [B, channels, *size] with weights drawn from `seed`; it returns logits.

    Args:
        name: one of `classifier_names()`.
        init: kaiming | xavier | trunc_normal. The last layer has small weights: the first loss is ln(num_classes).
        options: of the network's constructor, such as {"dropout": 0.5}.

    Raises: UserError, an unknown name or option.
    """
    kept = dict(options or {})
    if name not in OWN:
        check_one_of("model.name", name, classifier_names())
        return backbones.build_classifier(name, num_classes, channels, init=init, seed=seed, **kept)
    parameters = inspect.signature(OWN[name]).parameters.values()
    known = [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    for key in kept:
        check_one_of(f"model.options of {name}", key, known)
    sized = {"size": size} if name in SIZED else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = OWN[name](num_classes, channels, **sized, **kept)
        initialise_weights(model, init)
        nn.init.normal_(last_layer(model)[1].weight, 0.0, SMALL)
    return model


def last_layer(model: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return name and module of the layer of the logits: the last matrix, or without one the last convolution (NIN)."""
    kinds = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not kinds:
        kinds = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    found = [(name, module) for name, module in kinds if "aux" not in name] or kinds
    return found[-1]  # type: ignore[return-value]


def load_features(model: nn.Module, path: str | Path) -> list[str]:
    """Fill `model` with the weights of `path` (`backbones.pretrained.read_state`).

    A last layer of other classes keeps its weights; the names of these are returned.

    Raises: UserError that names the first mismatches.
    """
    state, own = read_state(path), model.state_dict()
    head = [name for name in own if name.startswith(f"{last_layer(model)[0]}.")]
    drawn = [] if all(name in state and state[name].shape == own[name].shape for name in head) else head
    # A checkpoint of torchvision may have auxiliary heads that the network here has not.
    state = {name: value for name, value in state.items() if name not in drawn and (name in own or "aux" not in name)}
    check_names(path, type(model).__name__, state, {n: tuple(v.shape) for n, v in own.items() if n not in drawn})
    model.load_state_dict(state, strict=False)
    return drawn
