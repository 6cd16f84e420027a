from pathlib import Path

import pytest

from superpoint.inference import FeatureDetector, load_model
from tests.inference.networks import write_network


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file with descriptors."""
    return write_network(tmp_path_factory.mktemp("weights") / "described.safetensors")


@pytest.fixture(scope="session")
def detector(weights: Path) -> FeatureDetector:
    """In torch and fp32: the same points on every machine."""
    return load_model(weights, "cpu", "torch", "fp32")
