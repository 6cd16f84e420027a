from dataclasses import asdict
from pathlib import Path

import pytest

from superpoint.config import ModelConfig
from superpoint.inference import FeatureDetector, load_model
from superpoint.models import build_model, load_network
from superpoint.models.weights import save_weights

DIM = 16


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained detector with random descriptors, which differ enough to match an image with its copy."""
    config = ModelConfig(encoder="lite", head_channels=128, descriptor_dim=DIM)
    model = build_model(config)
    model.load_state_dict(load_network("magicpoint-lite").state_dict(), strict=False)
    path = tmp_path_factory.mktemp("weights") / "described.safetensors"
    save_weights(path, model.eval(), asdict(config))
    return path


@pytest.fixture(scope="session")
def detector(weights: Path) -> FeatureDetector:
    return load_model(weights, "cpu", "torch", "fp32")
