"""Validation on generated pairs: which pairs, what is measured, and that the measures tell good from bad."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from superpoint.config import SuperPointConfig, load_config
from superpoint.data.pairs import KINDS, ViewPair, generated_pair
from superpoint.data.training_set import split_names
from superpoint.evaluation.extractors import make_extractor
from superpoint.models import build_model
from superpoint.training.pair_validation import (
    Both,
    PairValidation,
    matches_picture,
    measure_pairs,
    network_features,
    pair_metrics,
    protocol,
    validation_pairs,
)
from superpoint.visualize import save_image
from tests.conftest import TINY_PAIRS, TINY_TRAINING, photograph

SETTINGS = [*TINY_TRAINING, *TINY_PAIRS, "weights=null", "train.steps=1"]


def tiny(*overrides: str) -> SuperPointConfig:
    return load_config(SuperPointConfig, None, [*SETTINGS, *overrides])


PROTOCOL = protocol(tiny("validation.max_keypoints=300"))


@pytest.fixture(scope="module")
def pairs() -> list[ViewPair]:
    """Eight pairs of photographs, 160x200, with known matches for SIFT."""
    return [
        generated_pair(photograph(name, 512, 512), str(place), turn, kind, (160, 200), 1)
        for place, name in enumerate(("camera", "brick"))
        for turn in range(2)
        for kind in KINDS
    ]


def metrics_of(pairs: list[ViewPair], found: list[Both]) -> dict[str, float]:
    return pair_metrics(measure_pairs(pairs, found, PROTOCOL))


def test_sift_matches_photographs_and_shuffled_descriptors_do_not(pairs: list[ViewPair]) -> None:
    sift = make_extractor("sift", PROTOCOL)
    views = [(sift(pair.image_a), sift(pair.image_b)) for pair in pairs]
    found = metrics_of(pairs, views)
    assert found["photometric/correct@3"] == 1
    assert found["pairs/mma@3"] > 0.6
    rng = np.random.default_rng(0)
    shuffled = [(a, replace(b, descriptors=rng.permutation(np.asarray(b.descriptors)))) for a, b in views]
    broken = metrics_of(pairs, shuffled)
    assert broken["pairs/auc@5"] < 0.1
    assert broken["pairs/mma@3"] < 0.1
    assert broken["pairs/repeatability@3"] == found["pairs/repeatability@3"]  # the keypoints are the same
    swapped = [(replace(a, keypoints=a.keypoints[:, ::-1]), b) for a, b in views]
    assert metrics_of(pairs, swapped)["pairs/mma@3"] < 0.2
    noisy = [(replace(a, keypoints=a.keypoints + rng.normal(0, 1.5, a.keypoints.shape)), b) for a, b in views]
    moved = metrics_of(pairs, noisy)
    assert moved["pairs/mma@1"] < 0.7 * found["pairs/mma@1"]
    assert moved["pairs/localisation"] > found["pairs/localisation"]
    assert moved["pairs/auc@5"] < found["pairs/auc@5"]
    sheet = matches_picture(pairs, views, PROTOCOL)
    picture = matches_picture(pairs, views, PROTOCOL, "Before")
    assert picture.shape[1] < sheet.shape[1]  # the pairs stand below each other
    picture = sheet
    assert picture.shape[1] > 2 * 400
    assert (picture == (0, 158, 115)).all(axis=2).sum() > 50  # lines of right matches


def test_views_without_keypoints_are_a_result_and_no_error() -> None:
    flat = np.full((64, 80), 90, np.uint8)
    pair = ViewPair("flat", "flat", "viewpoint", flat, flat, np.eye(3))
    nothing = make_extractor("sift", PROTOCOL)(flat)
    found = metrics_of([pair], [(nothing, nothing)])
    assert found["pairs/matches"] == found["pairs/mma@3"] == found["pairs/auc@5"] == 0
    assert all(np.isfinite(value) for value in found.values())


def test_the_network_describes_views_of_any_size_in_their_own_frame() -> None:
    model = build_model(tiny().model).eval()
    image = np.asarray(np.random.default_rng(0).integers(0, 255, (61, 83)), np.uint8)
    pair = ViewPair("noise", "noise", "viewpoint", image, image[:, ::-1].copy(), np.eye(3))
    (both,) = network_features(model, [pair], protocol(tiny("validation.max_keypoints=40")))
    for found in both:
        assert len(found) == 40
        assert found.descriptors is not None
        assert found.descriptors.shape == (40, 16)
        assert (found.keypoints >= 3).all()
        assert (found.keypoints <= (80, 58)).all()


def test_validation_is_on_photographs_held_out(tmp_path: Path) -> None:
    names = [f"photo{number:02}.png" for number in range(12)]
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        for number, name in enumerate(names):  # the grey level says which photograph it is
            save_image(tmp_path / "images" / name, np.full((60, 80), 10 + 20 * number, np.uint8))
            file.create_group(name)["keypoints"] = np.array([[30, 20], [49, 39]], np.float32)
    paths = [f"data.labels={tmp_path / 'labels.h5'}", f"data.images={tmp_path / 'images'}"]
    config = tiny("data.kind=labelled", "data.holdout=0.4", *paths)
    held = {10 + 20 * names.index(name) for name in split_names(names, 0.4)[1]}
    assert len(held) > 1
    pairs = validation_pairs(config, 4 * len(held), seed=3)
    assert [pair.change for pair in pairs[:4]] == ["viewpoint", "photometric"] * 2
    assert {int(np.median(pair.image_a)) for pair in pairs} == held
    homographies = {pair.h_a_b.tobytes() for pair in pairs if pair.change == "viewpoint"}
    assert len(homographies) == 2 * len(held)  # also those of a photograph that comes again
    again = validation_pairs(config, 4 * len(held), seed=3)
    assert all(np.array_equal(a.image_b, b.image_b) for a, b in zip(pairs, again, strict=True))


def test_the_area_under_the_curve_selects_the_best() -> None:
    validate, model = PairValidation(tiny()), build_model(tiny().model).eval()
    with torch.no_grad():
        metrics = validate(model)
    assert metrics["selected_by"] == "pairs/auc@5"
    assert {"viewpoint/mma@3", "photometric/correct@1", "pairs/localisation", "clean/ap@4", "loss"} <= set(metrics)
    with torch.no_grad():
        parts = [validate.objective(model, batch) for batch in validate.batches]
    total = sum(float(part["weight"]) for part in parts)
    expected = sum(float(part["loss"] * part["weight"]) for part in parts) / total
    assert metrics["loss"] == pytest.approx(expected, rel=1e-4)
    terms = ("detector_loss", "descriptor_loss", "position_loss")
    assert metrics["loss"] == pytest.approx(sum(metrics[term] for term in terms), rel=1e-4)
    assert {"validation", "matches"} == set(metrics["images"])
    other = PairValidation(tiny("seed=9", "data.synthetic.texture=0.1", "descriptor.weight=3"))
    assert [pair.h_a_b.tolist() for pair in other.pairs] == [pair.h_a_b.tolist() for pair in validate.pairs]


def test_overfitted_pairs_are_validated_on_themselves() -> None:
    validate, model = PairValidation(tiny("data.overfit=2")), build_model(tiny().model).eval()
    with torch.no_grad():
        metrics = validate(model)
    assert validate.batches[0]["image_a"].shape == (2, 1, 48, 64)
    assert metrics["selected_by"] == "matching_accuracy"
    assert {"loss", "detector_loss", "descriptor_loss", "collapse"} <= set(metrics)
