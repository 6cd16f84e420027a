"""From a file, a run folder or the name of released weights to a network that is ready for use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from superpoint.config import ModelConfig
from superpoint.errors import UserError
from superpoint.models.superpoint import SuperPoint, build_model
from superpoint.models.weights import load_model_state, load_weights


def load_network(source: str | Path) -> SuperPoint:
    """The network of `source`, on the CPU, in evaluation mode and channels_last; `load_weights` says what it can be.

    Raises: UserError if there are no weights, they are damaged, or they fit no architecture known here.
    """
    state, model_config, _ = load_weights(source)
    model = model_from_state(state, model_config, source)
    return model.eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def model_from_state(
    state: Mapping[str, torch.Tensor], model_config: Mapping[str, Any], source: str | Path
) -> SuperPoint:
    """The network that `load_weights` read: built from its configuration, filled with its state."""
    unknown = set(model_config) - {field.name for field in fields(ModelConfig)}
    if unknown:
        raise UserError(f"{source}: its model_config has a key '{min(unknown)}' that this version does not know")
    try:
        config = ModelConfig(**model_config)
    except TypeError as error:
        raise UserError(f"{source}: its model_config cannot be used ({error})") from error
    model = build_model(config, pretrained=False)
    load_model_state(model, state, source)
    return model
