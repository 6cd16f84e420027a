"""A network whose detector works and whose descriptors are those of random weights: they tell places apart a little."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.config import ModelConfig
from superpoint.data.images import resize_with_points, sample_photographs
from superpoint.models import build_model, load_network
from superpoint.models.weights import save_weights

DIM = 16
CONFIG = ModelConfig(encoder="lite", head_channels=128, descriptor_dim=DIM)


def write_network(path: Path) -> Path:
    model = build_model(CONFIG)
    model.load_state_dict(load_network("magicpoint-lite").state_dict(), strict=False)
    save_weights(path, model.eval(), asdict(CONFIG))
    return path


@cache
def photograph(name: str = "astronaut", height: int = 120, width: int = 152) -> NDArray[np.uint8]:
    """Grey, uint8 [H, W]."""
    rgb = dict(sample_photographs())[name]
    gray = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    return resize_with_points(gray, np.zeros((0, 2), np.float32), (height, width))[0]
