"""Features of views without any image: random keypoints with descriptors of their own, seen through homographies."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from superpoint.config import ModelConfig
from superpoint.config.training import OptimizerConfig, TrainConfig
from superpoint.data.feature_writer import save_features
from superpoint.features import Features
from superpoint.geometry.homography import inside, sample_homography, warp_points
from superpoint.labelling.shards import digest
from superpoint.lightglue.config import MatcherConfig, MatcherDataConfig, MatcherModelConfig
from superpoint.lightglue.views import made_with
from superpoint.models import build_model
from superpoint.models.weights import model_hash, save_weights

DIM, SIZE = 16, (96, 128)
NETWORK = ModelConfig(encoder="lite", head_channels=16, descriptor_dim=DIM)


def view(rng: np.random.Generator, places: np.ndarray, descriptors: np.ndarray, others: int = 8) -> Features:
    """Keypoints that a homography leaves inside, their descriptors disturbed, and some that no other view has."""
    warp = sample_homography(rng, *SIZE)
    points = warp_points(places, warp) + rng.normal(0, 0.3, places.shape)
    seen = inside(points, *SIZE)
    points = np.concatenate([points[seen], rng.uniform(0, (SIZE[1] - 1, SIZE[0] - 1), (others, 2))])
    found = descriptors[seen] + rng.normal(0, 0.08, descriptors[seen].shape)
    found = np.concatenate([found, np.eye(DIM)[:1] + rng.normal(0, 0.1, (others, DIM))])  # clutter looks alike
    order = rng.permutation(len(points))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return Features(points[order], None, found[order], (SIZE[1], SIZE[0]), warp=warp)


def scenes(count: int, views: int = 3, keypoints: int = 40) -> dict[str, Features]:
    found = {}
    for number in range(count):
        rng = np.random.default_rng(number)
        places = rng.uniform(0, (SIZE[1] - 1, SIZE[0] - 1), (keypoints, 2))
        descriptors = rng.normal(0, 1, (keypoints, DIM))
        descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
        found |= {f"{number}.png/{k:03d}": view(rng, places, descriptors) for k in range(views)}
    return found


def matcher_config(folder: Path, **train: object) -> MatcherConfig:
    """A run of a tiny matcher, with the network and the features that it needs in `folder`."""
    weights = folder / "network.safetensors"
    network = build_model(NETWORK)
    if not weights.exists():
        save_weights(weights, network, {"encoder": "lite", "head_channels": 16, "descriptor_dim": DIM})
    data = MatcherDataConfig(
        features=str(folder / "features.h5"), views=3, height=SIZE[0], width=SIZE[1], keypoints=56, workers=0,
        holdout=0.1, held_out_pairs=8,
    )  # fmt: skip
    config = MatcherConfig(
        run=str(folder / "run"), network=str(weights), data=data,
        model=MatcherModelConfig(channels=16, layers=2, heads=2), optimizer=OptimizerConfig(lr=3e-3),
        train=replace(
            TrainConfig(minutes=None, steps=6, batch_size=4, ema=0.0, log_every=2, validate_every=3, probe_every=0,
                        precision="fp32"), **train,
        ),  # type: ignore[arg-type]
    )  # fmt: skip
    settings = made_with(config, network)
    if not Path(config.features).exists():
        header = {"model": model_hash(network), "key": digest(settings), "frame": "upright"}
        header["config"] = json.dumps(settings["config"])
        save_features(config.features, scenes(80), header)
    return config
