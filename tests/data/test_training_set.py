from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from superpoint.config import DataConfig, HomographyConfig, PhotometricConfig, SyntheticConfig
from superpoint.data.feature_file import FeatureFile
from superpoint.data.feature_writer import save_features
from superpoint.data.labelled import LabelledImages
from superpoint.data.mixture import Mixture
from superpoint.data.samples import SyntheticShapes
from superpoint.data.sources.photographs import LabelledPhotographs
from superpoint.data.training_set import (
    demand_labels,
    demand_targets,
    held_out_photographs,
    split_names,
    training_samples,
)
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.visualize import save_image

NAMES = [f"photo{number:02}.png" for number in range(30)]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 photographs of noise, each with its own grey level, and a label in each."""
    folder = tmp_path_factory.mktemp("labelled")
    with h5py.File(folder / "labels.h5", "w") as file:
        for number, name in enumerate(NAMES):
            image = np.full((60, 80), 5 * number, np.uint8)
            image[20:40, 30:50] = 255
            save_image(folder / "images" / name, image)
            group = file.create_group(name)
            group["keypoints"] = np.array([[30, 20], [49, 39]], np.float32)
            group["image_size"] = np.array([80, 60])
    return folder


def config(folder: Path, kind: str = "labelled", **keys: object) -> DataConfig:
    paths = {"labels": str(folder / "labels.h5"), "images": str(folder / "images")}
    return DataConfig(kind=kind, height=48, width=64, **paths, **keys)  # type: ignore[arg-type]


def test_the_kind_decides(labelled: Path) -> None:
    assert isinstance(training_samples(DataConfig(), 0), SyntheticShapes)
    assert isinstance(training_samples(config(labelled), 0), LabelledImages)
    mixed = training_samples(config(labelled, "mixed", labelled_share=0.25), 0)
    assert isinstance(mixed, Mixture)
    kinds = [type(mixed.locate(index)[0]) for index in range(8)]
    assert kinds.count(LabelledImages) == 2
    for index in range(8):
        samples, own = mixed.locate(index)
        assert mixed[index]["image"].shape == (1, 48, 64)
        assert torch.equal(mixed[index]["image"], samples[own]["image"])


def test_no_photograph_is_both_trained_on_and_held_out(labelled: Path) -> None:
    still = {"photometric": PhotometricConfig(enable=False), "homography": HomographyConfig(enable=False)}
    settings = config(labelled, holdout=0.2, **still)
    samples = training_samples(settings, 0)
    trained = {int(samples.draw(index)[0].min()) for index in range(60)}
    held = {int(image.min()) for image, *_ in held_out_photographs(settings, 100)}
    assert len(held) == len(split_names(NAMES, 0.2)[1])
    assert len(trained | held) == 30
    assert not trained & held
    assert len(held_out_photographs(settings, 2)) == 2


def test_weak_labels_are_left_out(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.zeros((48, 64), np.uint8))
    save_image(tmp_path / "b.png", np.zeros((48, 64), np.uint8))
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        for name in ("a.png", "b.png"):
            file[f"{name}/keypoints"] = np.array([[10, 20], [30, 40]], np.float32)
            file[f"{name}/scores"] = np.array([0.5, 0.05], np.float32)
    for threshold, count in ((0.0, 2), (0.05, 2), (0.1, 1), (0.6, 0)):
        source = LabelledPhotographs(FeatureFile(tmp_path / "labels.h5"), tmp_path, threshold=threshold)
        assert len(source[0][1]) == count


def test_overfitting_validates_on_the_samples_themselves(labelled: Path) -> None:
    settings = config(labelled, overfit=3)
    samples = training_samples(settings, 0)
    for index, (image, points, _) in enumerate(held_out_photographs(settings, 100)):
        assert np.array_equal(image, samples.draw(index)[0])
        assert len(points) == 2


def test_a_single_photograph_can_be_overfitted(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", np.full((48, 64), 90, np.uint8))
    save_features(tmp_path / "labels.h5", {"a.png": Features(np.array([[10, 20]], np.float32))})
    single = {"kind": "labelled", "labels": str(tmp_path / "labels.h5"), "images": str(tmp_path)}
    settings = DataConfig(**single, height=48, width=64, overfit=1)  # type: ignore[arg-type]
    _, points, _ = training_samples(settings, 0).draw(0)
    assert points.tolist() == [[10, 20]]
    assert len(held_out_photographs(settings, 9)) == 1
    with pytest.raises(UserError, match="found 1 labelled image"):
        training_samples(replace(settings, overfit=0), 0)


def test_the_split_follows_from_the_names() -> None:
    names = [f"{number}.jpg" for number in range(2000)]
    trained, held = split_names(names, 0.05)
    assert len(held) == pytest.approx(100, abs=30)
    assert set(trained) | set(held) == set(names)
    assert set(split_names(names[::2], 0.05)[1]) == set(held) & set(names[::2])
    assert [len(part) for part in split_names(["a", "b"], 0.001)] == [1, 1]
    assert [len(part) for part in split_names(["a", "b"], 0.999)] == [1, 1]
    with pytest.raises(UserError, match="found 1 labelled image"):
        split_names(["a"], 0.1)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "labelled"}, "without data.labels"),
        ({"kind": "mixed", "labels": "a.h5"}, "without data.images"),
        ({"kind": "synthetic", "labels": "a.h5"}, "found 'synthetic' beside"),
        ({"kind": "mixed", "labels": "a.h5", "images": "b", "overfit": 1}, r"data\.overfit"),
        ({"kind": "photos"}, "expected one of synthetic, labelled, mixed"),
        ({"holdout": 0.9}, r"data\.holdout"),
    ],
)
def test_bad_settings(keys: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DataConfig(**keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("place", "keys", "message"),
    [
        (None, {}, r"labels\.h5: found 27 training images and no label on them"),
        ((40, 30), {"label_threshold": 0.9}, r"data\.label_threshold=0\.9 leaves none of 27 labels .* score is 0\.84"),
        ((40, 30), {"label_threshold": 0.84}, ""),
        ((90, 30), {}, "none of the first 1000 samples has a label within its 64x48 pixels"),
    ],
)
def test_a_training_on_nothing_is_refused(
    place: tuple[int, int] | None, keys: dict[str, Any], message: str, labelled: Path, tmp_path: Path
) -> None:
    points = np.array([] if place is None else [place], np.float32).reshape(-1, 2)
    held_out = split_names(NAMES, 0.1)[1]
    scores = {
        name: np.full(len(points), 0.99 if name in held_out else 0.5 + len(name) / 100, np.float32) for name in NAMES
    }
    scores[next(name for name in NAMES[::-1] if name not in held_out)][:] = 0.84
    features = {name: Features(points, scores[name], None, (80, 60)) for name in NAMES}
    save_features(tmp_path / "labels.h5", features)
    made = replace(config(labelled, holdout=0.1, **keys), labels=str(tmp_path / "labels.h5"))

    def demand() -> None:
        demand_labels(made)
        demand_targets(made, training_samples(made, 0))

    if message:
        with pytest.raises(UserError, match=message):
            demand()
    else:
        demand()


def test_shapes_without_a_label_are_refused() -> None:
    made = DataConfig(height=48, width=64, synthetic=SyntheticConfig(primitives={"noise": 1.0}))
    with pytest.raises(UserError, match=r"data\.synthetic\.primitives: none of the first 1000"):
        demand_targets(made, training_samples(made, 0))
