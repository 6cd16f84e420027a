"""Damage and impossible values in feature files are found."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from superpoint.data.feature_check import check_labels
from superpoint.data.feature_file import FeatureFile
from superpoint.data.feature_writer import save_features
from superpoint.features import Features

POINTS = np.array([[1, 2], [30, 40]], np.float32)


def problems(path: Path) -> list[str]:
    return [f"{name}: {text}" for name, text in check_labels(FeatureFile(path))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_features(
        tmp_path / "a.h5",
        {f"{index}.jpg": Features(POINTS, np.ones(2, np.float32), np.ones((2, 4)), (64, 48)) for index in range(3)},
    )
    return tmp_path / "a.h5"


def test_a_whole_file_has_none(path: Path) -> None:
    assert problems(path) == []


def test_a_flipped_bit_is_found(path: Path) -> None:
    content = bytearray(path.read_bytes())
    where = content.index(POINTS.tobytes())
    content[where + 2] ^= 1
    path.write_bytes(content)
    (problem,) = problems(path)
    assert "checksum" in problem


def test_a_lost_group_is_found(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["1.jpg"]
    assert problems(path) == [": holds 2 images, its header says 3"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("keypoints", np.zeros((2, 3)), "keypoints: found shape [2, 3], expected [N, 2]"),
        ("keypoints", np.array([[1, np.nan], [2, 2]]), "keypoints: found values that are not finite"),
        ("keypoints", np.array([[1, 50.0], [2, 2]]), "1 of 2 keypoints lie outside the image of 64 x 48"),
        ("scores", np.ones(3), "scores: found shape [3], expected [2]"),
        ("scores", np.array([1, np.inf]), "scores: found values that are not finite"),
        ("descriptors", np.ones((2, 4)), "descriptors: found shape [4, 2], expected [2, D]"),
        ("descriptors", np.full((4, 2), np.nan), "descriptors: found values that are not finite"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, key: str, value: np.ndarray, message: str) -> None:
    """In a file of hloc's, that has no checksums."""
    content = {"keypoints": POINTS, "scores": np.ones(2), "descriptors": np.ones((4, 2)), "image_size": [64, 48]}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, array in (content | {key: value}).items():
            file[f"db/1.jpg/{name}"] = array
    (problem,) = problems(tmp_path / "a.h5")
    assert problem.startswith("db/1.jpg: ")
    assert message in problem
