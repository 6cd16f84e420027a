"""Methods by name: what they find, in which order, and how they say what they lack."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from superpoint import pretrained as registry
from superpoint.config import ModelConfig
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.images import sample_photographs
from superpoint.errors import UserError
from superpoint.evaluation import methods
from superpoint.evaluation.feature_store import FeatureStore
from superpoint.evaluation.methods import default_methods, make_method
from superpoint.models.superpoint import build_model
from superpoint.models.weights import save_weights

CONFIG = EvaluatePairsConfig(max_keypoints=60)


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
    assert features.descriptors is not None
    assert 20 <= len(features.keypoints) <= 60
    assert (np.diff(features.scores) <= 0).all()
    assert features.descriptors.shape == (len(features.keypoints), length)
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
    assert features.descriptors.shape[1] == 32
    assert np.allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=2e-3)
    borrowed = make_method(f"{tmp_path / 'w.safetensors'}+sift", CONFIG)
    assert borrowed(image).descriptors.shape[1] == 128  # type: ignore[union-attr]
    assert borrowed.key != method.key


def test_features_of_older_code_are_not_taken_from_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("magicpoint-lite", "harris"):
        keys = {make_method(name, CONFIG).key for _ in range(2)}
        for constant, value in (("__version__", "0.0.1"), ("DECODER_VERSION", 1)):
            with monkeypatch.context() as older:
                older.setattr(methods, constant, value)
                keys.add(make_method(name, CONFIG).key)
        assert len(keys) == 3


def test_blank_images_have_no_points() -> None:
    blank = np.full((64, 80), 128, np.uint8)
    for name in ("sift", "rootsift", "orb", "harris"):
        features = make_method(name, CONFIG)(blank)
        assert len(features.keypoints) == 0
        assert features.descriptors is not None
        assert features.descriptors.shape[0] == 0
    assert len(make_method("orb", CONFIG)(np.zeros((16, 16), np.uint8)).keypoints) == 0


def kornia_state(kind: str) -> dict[str, Any]:
    """What a published weight file of each network holds, with random numbers in it."""
    from kornia import feature

    torch.manual_seed(0)
    if kind == "disk":
        return {"extractor": feature.DISK().state_dict()}
    if kind == "xfeat":
        state = feature.XFeat().net.state_dict()
        state["keypoint_head.3.weight"] *= 50  # else no pixel reaches its least probability, 0.05
        return state
    if kind == "keynet-hardnet":
        orienter = feature.LAFOrienter(angle_detector=feature.OriNet(False))
        detector = feature.KeyNetDetector(False, ori_module=orienter)
        describer = feature.LAFDescriptor(feature.HardNet(False), patch_size=32, grayscale_descriptor=True)
        return feature.LocalFeature(detector, describer).state_dict()
    return feature.ALIKED(kind).state_dict()


@pytest.mark.parametrize(
    ("kind", "length"),
    [("disk", 128), ("xfeat", 64), ("keynet-hardnet", 128), ("aliked-t16", 64), ("aliked-n16", 128)],
)
def test_kornia_networks_load_from_files(kind: str, length: int, tmp_path: Path, image: NDArray[np.uint8]) -> None:
    with torch.random.fork_rng():
        torch.save(kornia_state(kind), tmp_path / "w.pth")
    small = np.ascontiguousarray(image[:80, :96])
    name = f"{kind.partition('-')[0] if kind.startswith('aliked') else kind}:{tmp_path / 'w.pth'}"
    method = make_method(name, CONFIG)
    features = method(small)
    assert method.name == name
    assert features.descriptors is not None
    assert features.descriptors.shape == (len(features.keypoints), length)
    assert 0 < len(features.keypoints) <= 60
    assert (np.diff(features.scores) <= 0).all()
    assert np.isfinite(features.descriptors).all()
    assert (features.keypoints >= -0.5).all()
    assert (features.keypoints <= (95.5, 79.5)).all()
    again = make_method(name, CONFIG)(small)
    assert np.array_equal(again.keypoints, features.keypoints)


def test_files_that_are_no_weights_of_the_network(tmp_path: Path) -> None:
    torch.save({"extractor": {"x": torch.zeros(1)}}, tmp_path / "other.pth")
    (tmp_path / "broken.pth").write_bytes(b"x")
    for kind in ("aliked", "disk", "xfeat", "keynet-hardnet"):
        with pytest.raises(UserError, match=r"other\.pth: does not fit"):
            make_method(f"{kind}:{tmp_path}/other.pth", CONFIG)
        with pytest.raises(UserError, match="cannot be read as weights"):
            make_method(f"{kind}:{tmp_path}/broken.pth", CONFIG)
        with pytest.raises(UserError, match=f"found '{kind}' without weights"):
            make_method(kind, CONFIG)


@pytest.mark.parametrize(
    ("pretrained", "expected"),
    [
        ({}, ["harris", "sift", "orb"]),
        ({"magicpoint": 0, "magicpoint-lite": 0}, ["magicpoint-lite", "harris", "sift", "orb"]),
        ({"magicpoint": 0, "magicpoint-lite": 0, "superpoint": 256}, ["superpoint", "sift", "orb"]),
        ({"magicpoint-lite": 0, "superpoint": 256, "superpoint-lite": 128}, ["superpoint-lite", "sift", "orb"]),
    ],
)
def test_default_methods_are_of_networks_that_are_there(
    pretrained: dict[str, int], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "PRETRAINED", tmp_path)
    for name, length in pretrained.items():
        config = {"encoder": "lite", "head_channels": 16, "descriptor_dim": length}
        save_weights(tmp_path / f"{name}.safetensors", build_model(ModelConfig(**config)), config)
    assert default_methods() == expected
    assert [make_method(name, CONFIG).name.removesuffix("+sift") for name in default_methods()] == expected


def test_default_methods_of_this_package() -> None:
    network, *others = default_methods()
    assert network in registry.pretrained_names()
    assert others[-2:] == ["sift", "orb"]


@pytest.mark.skipif(hasattr(cv2, "AKAZE"), reason="this OpenCV has it")
def test_akaze_names_what_is_missing() -> None:
    with pytest.raises(UserError, match=r"akaze.*as installed has none"):
        make_method("akaze", CONFIG)


def test_the_store_writes_meanwhile_and_tells_of_errors(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    method = make_method("orb", CONFIG)
    store = FeatureStore(tmp_path, method)
    with ThreadPoolExecutor(1) as pool:
        store.writer = pool
        views = [np.ascontiguousarray(image[shift:]) for shift in range(0, 24, 2)]
        found = [store(view) for view in views]
        store.flush()
        assert len(list(tmp_path.rglob("*.h5"))) == len(views)
        shutil.rmtree(tmp_path)
        store(np.ascontiguousarray(image[:, 1:]))
        with pytest.raises(UserError):
            store.flush()
    assert [len(each.points) for each in found] == [len(method(view).keypoints) for view in views]


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
    fewer = FeatureStore(tmp_path, make_method("orb", EvaluatePairsConfig(max_keypoints=20)))
    assert len(fewer(image).points) <= 20
    assert fewer.computed == 1
