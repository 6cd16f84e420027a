import pytest
import torch
from torch import nn

from superpoint.config import ModelConfig
from superpoint.models import SuperPoint, build_model
from superpoint.models.weights import load_weights, save_weights

ADDED = {"descriptor_dim": 8, "fine": 4}


@pytest.fixture(scope="session")
def described() -> SuperPoint:
    """A detector that finds something, with a fine branch and descriptors of random weights."""
    state, config, _ = load_weights("magicpoint-compact")
    model = build_model(ModelConfig(**{**config, **ADDED}))
    model.load_state_dict({**model.state_dict(), **state})
    assert model.detector.fine is not None
    nn.init.normal_(model.detector.fine.logit.weight, std=0.05, generator=torch.Generator().manual_seed(4))
    return model.eval()


@pytest.fixture(scope="session")
def weights(described: SuperPoint, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same as a file."""
    path = tmp_path_factory.mktemp("weights") / "described.safetensors"
    _, config, _ = load_weights("magicpoint-compact")
    save_weights(path, described, {**config, **ADDED})
    return str(path)


@pytest.fixture(autouse=True)
def _no_gradients() -> None:
    torch.set_grad_enabled(True)  # whatever a runtime left behind
