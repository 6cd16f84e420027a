"""Methods by name: what they find, in which order, and how they say what they lack."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from superpoint.config import ModelConfig
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.images import sample_photographs
from superpoint.errors import UserError
from superpoint.evaluation.feature_store import FeatureStore
from superpoint.evaluation.methods import make_method
from superpoint.models.superpoint import build_model
from superpoint.models.weights import save_weights

CONFIG = EvaluatePairsConfig(points=60)


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    return np.ascontiguousarray(sample_photographs()[1][1][100:220, 150:310].mean(axis=2).astype(np.uint8))


@pytest.mark.parametrize(
    ("name", "title", "length", "binary"),
    [
        ("sift", "sift", 128, False),
        ("rootsift", "rootsift", 128, False),
        ("orb", "orb", 32, True),
        ("harris", "harris+sift", 128, False),
        ("fast+rootsift", "fast+rootsift", 128, False),
        ("magicpoint-lite", "magicpoint-lite+sift", 128, False),
        ("superpoint:magicpoint-lite", "magicpoint-lite+sift", 128, False),
    ],
)
def test_features_are_the_strongest_in_order(
    name: str, title: str, length: int, binary: bool, image: NDArray[np.uint8]
) -> None:
    method = make_method(name, CONFIG)
    assert method.name == title
    features = method(image)
    assert features.scores is not None
    assert features.descriptors is not None
    assert 20 <= len(features.keypoints) <= 60
    assert (np.diff(features.scores) <= 0).all()
    assert features.descriptors.shape == (length, len(features.keypoints))
    assert features.image_size == (160, 120)
    described = method.descriptors(features)
    assert described.dtype == (np.uint8 if binary else np.float32)
    again = make_method(name, CONFIG)(image)
    assert np.array_equal(again.keypoints, features.keypoints)
    if title.endswith("+sift") or name == "orb":
        assert described.std() > 1


def test_a_network_with_a_descriptor_head_uses_it(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    config = ModelConfig(encoder="lite", head_channels=16, descriptor_dim=32)
    save_weights(
        tmp_path / "w.safetensors",
        build_model(config),
        {"encoder": "lite", "head_channels": 16, "descriptor_dim": 32},
    )
    method = make_method(str(tmp_path / "w.safetensors"), CONFIG)
    features = method(image)
    assert "+" not in method.name
    assert features.descriptors is not None
    assert features.descriptors.shape[0] == 32
    assert np.allclose(np.linalg.norm(features.descriptors.astype(np.float32), axis=0), 1, atol=2e-3)
    borrowed = make_method(f"{tmp_path / 'w.safetensors'}+sift", CONFIG)
    assert borrowed(image).descriptors.shape[0] == 128  # type: ignore[union-attr]
    assert borrowed.key != method.key


def test_blank_images_have_no_points() -> None:
    blank = np.full((64, 80), 128, np.uint8)
    for name in ("sift", "rootsift", "orb", "harris"):
        features = make_method(name, CONFIG)(blank)
        assert len(features.keypoints) == 0
        assert features.descriptors is not None
        assert features.descriptors.shape[1] == 0
    assert len(make_method("orb", CONFIG)(np.zeros((16, 16), np.uint8)).keypoints) == 0


def test_kornia_networks_load_from_files(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    from kornia.feature import ALIKED, DISK

    torch.save({"extractor": DISK().state_dict()}, tmp_path / "disk.pth")
    torch.save(ALIKED("aliked-t16").state_dict(), tmp_path / "aliked.pth")
    small = np.ascontiguousarray(image[:80, :96])
    for kind, length in (("disk", 128), ("aliked", 64)):
        method = make_method(f"{kind}:{tmp_path / kind}.pth", CONFIG)
        features = method(small)
        assert features.descriptors is not None
        assert features.descriptors.shape == (length, len(features.keypoints))
        assert 0 < len(features.keypoints) <= 60
        assert features.scores is not None
        assert (np.diff(features.scores) <= 0).all()
        assert (features.keypoints >= 0).all()
        assert (features.keypoints <= (95, 79)).all()
    with pytest.raises(UserError, match=r"disk\.pth: does not fit"):
        make_method(f"aliked:{tmp_path}/disk.pth", CONFIG)
    (tmp_path / "broken.pth").write_bytes(b"x")
    with pytest.raises(UserError, match="cannot be read as weights"):
        make_method(f"disk:{tmp_path}/broken.pth", CONFIG)


@pytest.mark.skipif(hasattr(cv2, "AKAZE"), reason="this OpenCV has it")
def test_akaze_names_what_is_missing() -> None:
    with pytest.raises(UserError, match=r"akaze.*as installed has none"):
        make_method("akaze", CONFIG)


def test_the_store_computes_once_and_rebuilds_what_is_damaged(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    method = make_method("orb", CONFIG)
    first = FeatureStore(tmp_path, method)
    a = first(image)
    first(image)
    assert (first.computed, first.read) == (1, 0)
    second = FeatureStore(tmp_path, method)
    b = second(image)
    assert (second.computed, second.read) == (0, 1)
    assert all(np.array_equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))
    assert b.descriptors.dtype == np.uint8
    (path,) = tmp_path.rglob("*.h5")
    content = bytearray(path.read_bytes())
    place = content.find(a.points.tobytes()[:16])
    content[place] ^= 0xFF  # one byte of a coordinate: still a readable file
    path.write_bytes(bytes(content))
    third = FeatureStore(tmp_path, method)
    assert np.array_equal(third(image).points, a.points)
    assert (third.computed, third.rebuilt) == (1, 1)
    fewer = FeatureStore(tmp_path, make_method("orb", EvaluatePairsConfig(points=20)))
    assert len(fewer(image).points) <= 20
    assert fewer.computed == 1
