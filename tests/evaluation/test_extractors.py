"""Extractors by name: what they find, in which order, and how they say what they lack."""

from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.images import sample_photographs
from superpoint.errors import UserError
from superpoint.evaluation import extractors
from superpoint.evaluation.extractors import make_extractor
from superpoint.evaluation.feature_store import FeatureStore
from superpoint.models.superpoint import build_model
from superpoint.models.weights import save_weights
from tests.conftest import TINY_MODEL

CONFIG = EvaluatePairsConfig(max_keypoints=60)


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    return np.ascontiguousarray(sample_photographs()[1][1][100:220, 150:310].mean(axis=2).astype(np.uint8))


@pytest.mark.parametrize(
    ("name", "title", "length"),
    [
        ("sift", "sift", 128),
        ("rootsift", "rootsift", 128),
        ("orb", "orb", 256),
        ("harris", "harris+sift", 128),
        ("fast+rootsift", "fast+rootsift", 128),
        ("magicpoint-lite", "magicpoint-lite+sift", 128),
        ("superpoint:magicpoint-lite", "magicpoint-lite+sift", 128),
    ],
)
def test_features_are_the_strongest_in_order(name: str, title: str, length: int, image: NDArray[np.uint8]) -> None:
    extractor = make_extractor(name, CONFIG)
    assert extractor.name == title
    features = extractor(image)
    assert features.descriptors is not None
    assert 20 <= len(features.keypoints) <= 60
    assert (np.diff(features.scores) <= 0).all()
    assert features.descriptors.shape == (len(features.keypoints), length)
    assert features.image_size == (160, 120)
    again = make_extractor(name, CONFIG)(image)
    assert np.array_equal(again.keypoints, features.keypoints)


def test_a_network_with_a_descriptor_head_uses_it(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    config = replace(TINY_MODEL, descriptor_dim=32)
    save_weights(tmp_path / "w.safetensors", build_model(config), asdict(config))
    extractor = make_extractor(str(tmp_path / "w.safetensors"), CONFIG)
    features = extractor(image)
    assert "+" not in extractor.name
    assert features.descriptors is not None
    assert features.descriptors.shape[1] == 32
    assert np.allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=2e-3)
    borrowed = make_extractor(f"{tmp_path / 'w.safetensors'}+sift", CONFIG)
    assert borrowed(image).descriptors.shape[1] == 128  # type: ignore[union-attr]
    assert borrowed.key != extractor.key


def test_features_of_older_code_are_not_taken_from_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("magicpoint-lite", "harris"):
        keys = {make_extractor(name, CONFIG).key for _ in range(2)}
        for constant, value in (("__version__", "0.0.1"), ("DECODER_VERSION", 1)):
            with monkeypatch.context() as older:
                older.setattr(extractors, constant, value)
                keys.add(make_extractor(name, CONFIG).key)
        assert len(keys) == 3


def test_bits_are_compared_by_their_hamming_distance(image: NDArray[np.uint8]) -> None:
    found = np.asarray(make_extractor("orb", CONFIG)(image).descriptors)
    keys, bits = cv2.ORB.create(60).detectAndCompute(image, None)  # type: ignore[call-overload]
    bits = np.asarray(bits, np.uint8)
    order = np.argsort([-key.response for key in keys], kind="stable")[:60]
    hamming = np.unpackbits(bits[order, None] ^ bits[order][None], axis=2).sum(axis=2)
    assert np.allclose(found @ found.T, 256 - 2.0 * hamming)


def test_adapted_labels_and_random_points_are_extractors(image: NDArray[np.uint8]) -> None:
    options = {"describe": False, "homographies": 3}
    adapted = make_extractor("adapted:magicpoint-lite", CONFIG, **options)
    found = adapted(image)
    assert (adapted.name, found.views, found.descriptors) == ("adapted:magicpoint-lite", 3, None)
    assert 5 < len(found) <= 60
    assert np.array_equal(adapted(image).keypoints, found.keypoints)
    drawn = make_extractor("random", CONFIG, **options)(image)
    assert len(drawn) == 60
    assert (drawn.keypoints >= 4).all()
    assert (drawn.keypoints <= np.array([155, 115])).all()
    assert make_extractor("random", CONFIG).name == "random+sift"


def test_keypoints_alone_are_thinned_alike(image: NDArray[np.uint8]) -> None:
    for name in ("sift", "orb", "magicpoint-lite", "superpoint-lite"):
        extractor = make_extractor(name, CONFIG, nms_radius=6, describe=False)
        assert extractor.name == name
        found = extractor(image)
        assert found.descriptors is None
        apart = np.abs(found.keypoints[:, None] - found.keypoints[None]).max(axis=2)
        assert apart[~np.eye(len(found), dtype=bool)].min() > 4


def test_blank_images_have_no_points() -> None:
    blank = np.full((64, 80), 128, np.uint8)
    for name in ("sift", "rootsift", "orb", "harris"):
        features = make_extractor(name, CONFIG)(blank)
        assert len(features.keypoints) == 0
        assert features.descriptors is not None
        assert features.descriptors.shape[0] == 0
    assert len(make_extractor("orb", CONFIG)(np.zeros((16, 16), np.uint8)).keypoints) == 0


def test_the_store_computes_once_and_rebuilds_what_is_damaged(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    extractor = make_extractor("orb", CONFIG)
    first = FeatureStore(tmp_path, extractor)
    a = first(image)
    first(image)
    assert (first.computed, first.read) == (1, 0)
    second = FeatureStore(tmp_path, extractor)
    b = second(image)
    assert (second.computed, second.read) == (0, 1)
    for part in ("keypoints", "scores", "descriptors"):
        assert np.array_equal(getattr(a, part), getattr(b, part))
    (path,) = tmp_path.rglob("*.h5")
    content = bytearray(path.read_bytes())
    place = content.find(a.keypoints.tobytes()[:16])
    content[place] ^= 0xFF  # one byte of a coordinate: still a readable file
    path.write_bytes(bytes(content))
    third = FeatureStore(tmp_path, extractor)
    assert np.array_equal(third(image).keypoints, a.keypoints)
    assert (third.computed, third.rebuilt) == (1, 1)
    fewer = FeatureStore(tmp_path, make_extractor("orb", EvaluatePairsConfig(max_keypoints=20)))
    assert len(fewer(image)) <= 20
    assert fewer.computed == 1


def test_a_misspelt_classical_method_is_named() -> None:
    with pytest.raises(UserError, match=r"sifft: no such file, .*, or fast, .*; did you mean 'sift'"):
        make_extractor("sifft", CONFIG)
