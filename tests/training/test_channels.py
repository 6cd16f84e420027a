"""Training on images of several channels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from superpoint.config import DataConfig, ModelConfig, SuperPointConfig, load_config
from superpoint.data.feature_writer import save_features
from superpoint.data.samples import SyntheticShapes
from superpoint.features import Features
from superpoint.inference import load_model
from superpoint.models import build_model
from superpoint.models.weights import load_weights, save_weights
from superpoint.training.magicpoint import load_start
from superpoint.training.objectives import DetectorObjective
from superpoint.training.superpoint import train_superpoint
from tests.conftest import TINY_PAIRS, TINY_TRAINING, photograph


def test_a_network_learns_which_channel_to_look_at() -> None:
    """Planted: the same network on swapped channels, and on their mean, as if they had been reduced to grey."""
    samples, generator = (
        SyntheticShapes(DataConfig(height=32, width=32, overfit=4), 1),
        torch.Generator().manual_seed(2),
    )
    batch = torch.utils.data.default_collate([samples[index] for index in range(4)])
    model, objective = build_model(ModelConfig("lite", 16, channels=2)), DetectorObjective(3.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def image() -> Tensor:
        noise = torch.randint(0, 256, batch["image"].shape, generator=generator, dtype=torch.uint8)
        return torch.cat([batch["image"], noise], dim=1)

    for _ in range(80):
        optimizer.zero_grad()
        objective(model.train(), {**batch, "image": image()})["loss"].backward()
        optimizer.step()
    shown = image()
    mean = shown.float().mean(dim=1, keepdim=True).expand(-1, 2, -1, -1)
    with torch.no_grad():
        right, swapped, grey = (
            float(objective(model.eval(), {**batch, "image": each})["loss"]) for each in (shown, shown.flip(1), mean)
        )
    assert right < 0.6
    assert swapped > 3 * right
    assert grey > 1.5 * right


@pytest.mark.parametrize("encoder", ["vgg", "lite", "compact", "vgg-original", "resnet18"])
def test_grey_weights_see_the_same_in_equal_channels(tmp_path: Path, encoder: str) -> None:
    settings = {"encoder": encoder, "head_channels": 8}
    grey, several = (build_model(ModelConfig(**settings, channels=count), count) for count in (1, 3))
    save_weights(tmp_path / "grey.safetensors", grey, settings)
    assert "repeated for 3 channels" in load_start(several, str(tmp_path / "grey.safetensors"))
    image = torch.rand(1, 1, 32, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = grey.eval()(image)["logits"]
        found = several.eval()(image.expand(-1, 3, -1, -1))["logits"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_labelled_arrays_train_detector_and_descriptor(tmp_path: Path) -> None:
    """From grey weights, with labels of which only the first channel knows: two bands as .npy, in two layouts."""
    rng = np.random.default_rng(0)
    for name in ("astronaut", "camera", "coffee", "chelsea"):
        np.save(tmp_path / f"{name}.npy", np.dstack([photograph(name), rng.integers(0, 3000, (120, 152))]))
    points = rng.uniform(8, 110, (40, 2)).astype(np.float32)
    labels = {path.name: Features(points, image_size=(152, 120)) for path in sorted(tmp_path.glob("*.npy"))}
    save_features(tmp_path / "labels.h5", labels, {})
    save_weights(
        tmp_path / "grey.safetensors", build_model(ModelConfig("lite", 16)), {"encoder": "lite", "head_channels": 16}
    )
    data = ["data.kind=labelled", f"data.labels={tmp_path}/labels.h5", f"data.images={tmp_path}", "data.holdout=0.3"]
    start = [f"weights={tmp_path}/grey.safetensors", "model.channels=2", f"run={tmp_path}/run", "train.steps=2"]
    config = load_config(SuperPointConfig, None, [*TINY_TRAINING, *TINY_PAIRS, *data, *start])
    train_superpoint(config)
    assert load_weights(tmp_path / "run")[1]["channels"] == 2
    model = load_model(tmp_path / "run", backend="torch")
    stored = np.load(tmp_path / "camera.npy")
    assert model.channels == 2
    first, second = model.detect([tmp_path / "camera.npy", stored.astype(np.uint16)], threshold=0.0, max_keypoints=20)
    np.testing.assert_array_equal(first.keypoints, second.keypoints)
