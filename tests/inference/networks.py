"""A network whose detector works and whose descriptors are those of random weights: they tell places apart a little."""

from dataclasses import asdict
from pathlib import Path

from superpoint.config import ModelConfig
from superpoint.models import build_model, load_network
from superpoint.models.weights import save_weights

DIM = 16
CONFIG = ModelConfig(encoder="lite", head_channels=128, descriptor_dim=DIM)


def write_network(path: Path) -> Path:
    model = build_model(CONFIG)
    model.load_state_dict(load_network("magicpoint-lite").state_dict(), strict=False)
    save_weights(path, model.eval(), asdict(CONFIG))
    return path
