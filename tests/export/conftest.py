from __future__ import annotations

import pytest
import torch

from superpoint.config import ModelConfig
from superpoint.models import SuperPoint, build_model
from superpoint.models.weights import load_weights, save_weights


@pytest.fixture(scope="session")
def described() -> SuperPoint:
    """A detector that finds something, with descriptors of random weights."""
    state, config, _ = load_weights("magicpoint-lite")
    model = build_model(ModelConfig(**{**config, "descriptor_dim": 8}))
    model.load_state_dict({**model.state_dict(), **state})
    return model.eval()


@pytest.fixture(scope="session")
def weights(described: SuperPoint, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same as a file."""
    path = tmp_path_factory.mktemp("weights") / "described.safetensors"
    _, config, _ = load_weights("magicpoint-lite")
    save_weights(path, described, {**config, "descriptor_dim": 8})
    return str(path)


@pytest.fixture(autouse=True)
def _no_gradients() -> None:
    torch.set_grad_enabled(True)  # whatever a runtime left behind
