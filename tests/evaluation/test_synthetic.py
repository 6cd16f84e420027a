from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from superpoint.config import SyntheticConfig
from superpoint.data.synthetic import ShapeGenerator
from superpoint.evaluation.classical import classical_detector
from superpoint.evaluation.synthetic import (
    CURVE_POINTS,
    Detections,
    Sample,
    SyntheticProtocol,
    evaluate_synthetic,
    evaluate_synthetic_batched,
    flat_metrics,
    label,
    markdown_table,
    precision_recall_curves,
    primitive_table,
    summary_table,
    synthetic_samples,
)

Image = NDArray[np.uint8]

# Two squares' worth of corners and one image of noise: (primitive, truth). The image's top-left pixel is its number.
TRUTH: list[tuple[str, list[list[float]]]] = [
    ("polygon", [[10, 10], [30, 10]]),
    ("noise", []),
    ("star", [[20, 20]]),
    ("polygon", [[5, 25]]),
]
# What the detector says of each: points and scores.
FOUND: list[tuple[list[list[float]], list[float]]] = [
    ([[10, 11], [30, 13], [50, 40]], [0.9, 0.8, 0.3]),  # at eps 2 T F F, at eps 4 T (1 px) T (3 px) F
    ([[3, 3]], [0.7]),  # false by definition
    ([[20, 20]], [0.6]),  # T, exact
    ([], []),  # a miss
]


def samples() -> Iterator[Sample]:
    for index, (name, truth) in enumerate(TRUTH):
        image = np.zeros((48, 64), np.uint8)
        image[0, 0] = index
        yield name, image, np.array(truth, np.float32).reshape(-1, 2)


def detect(image: Image) -> Detections:
    points, scores = FOUND[int(image[0, 0])]
    return np.array(points, np.float32).reshape(-1, 2), np.array(scores, np.float32)


@pytest.fixture
def result() -> dict:
    return evaluate_synthetic(detect, samples(), detector="fake", variant="clean")


def test_pooled_figures_by_hand(result: dict):
    # eps 2, in order: .9 T, .8 F, .7 F, .6 T, .3 F of 4 truths; precision 1, 1/2, 1/3, 1/2; AP = 1/4 + 1/4 * 1/2.
    strict = result["pooled"]["2"]
    assert strict["ap"] == pytest.approx(0.375)
    assert strict["localisation_error"] == pytest.approx((1 + 0) / 2)
    assert strict["max_recall"] == 0.5
    assert [strict[key] for key in ("images", "truth", "detections", "true_positives")] == [4, 4, 5, 2]
    # eps 4: T T F T F; AP = 1/4 + 1/4 + 1/4 * 3/4.
    loose = result["pooled"]["4"]
    assert loose["ap"] == pytest.approx(0.6875)
    assert loose["localisation_error"] == pytest.approx((1 + 3 + 0) / 3)
    # Best F1: after .6, precision 3/4, recall 3/4; all three hits are above it.
    assert loose["best_f1"] == pytest.approx({"threshold": 0.6, "precision": 0.75, "recall": 0.75, "f1": 0.75})
    assert loose["localisation_error_best_f1"] == pytest.approx(4 / 3)


def test_figures_of_a_primitive_by_hand(result: dict):
    polygon = result["primitives"]["polygon"]["4"]  # T T F of 3 truths
    assert polygon["ap"] == pytest.approx(2 / 3)
    assert [polygon[key] for key in ("images", "truth", "detections", "true_positives")] == [2, 3, 3, 2]
    assert result["primitives"]["star"]["2"]["ap"] == 1.0
    noise = result["primitives"]["noise"]["2"]
    assert noise["ap"] is noise["localisation_error"] is noise["best_f1"] is noise["max_recall"] is None
    assert noise["detections"] == 1
    assert result["mean_ap"]["4"] == pytest.approx((2 / 3 + 1) / 2)  # noise has no AP to average


def test_localisation_at_best_f1_leaves_out_what_lies_below_its_threshold():
    def weak_and_far(image: Image) -> Detections:
        return np.array([[10, 10], [60, 40], [61, 10], [33, 10]], np.float32), np.array([4, 3, 2, 1], np.float32)

    pooled = evaluate_synthetic(weak_and_far, list(samples())[:1])["pooled"]["4"]
    # T F F T of 2: F1 2/3 at the first, 2/3 at the last: the stricter one counts, its error is 0, that of all 1.5.
    assert pooled["best_f1"]["threshold"] == 4
    assert (pooled["localisation_error_best_f1"], pooled["localisation_error"]) == (0.0, 1.5)


def test_order_of_the_samples_is_no_matter(result: dict):
    backwards = evaluate_synthetic(detect, list(samples())[::-1], detector="fake", variant="clean")
    assert backwards == result


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_batches_give_the_same_result(result: dict, batch_size: int):
    sizes: list[int] = []

    def detect_batch(images: Image) -> list[Detections]:
        sizes.append(len(images))
        return [detect(image) for image in images]

    batched = evaluate_synthetic_batched(
        detect_batch, samples(), batch_size=batch_size, detector="fake", variant="clean"
    )
    assert batched == result
    assert sizes == {1: [1] * 4, 2: [2, 2], 3: [3, 1], 32: [4]}[batch_size]


def test_batches_hold_images_of_one_size():
    shapes = [(8, 8), (8, 8), (8, 16), (8, 8)]
    seen: list[tuple[int, ...]] = []

    def detect_batch(images: Image) -> list[Detections]:
        seen.append(images.shape)
        return [(np.empty((0, 2), np.float32), np.empty(0, np.float32))] * len(images)

    mixed = [("star", np.zeros(shape, np.uint8), np.ones((1, 2), np.float32)) for shape in shapes]
    assert evaluate_synthetic_batched(detect_batch, mixed)["images"] == 4
    assert seen == [(2, 8, 8), (1, 8, 16), (1, 8, 8)]


def test_a_detector_that_loses_an_image_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        evaluate_synthetic_batched(lambda images: [detect(images[0])], samples())
    with pytest.raises(ValueError, match="batch_size: found 0"):
        evaluate_synthetic_batched(lambda images: [], samples(), batch_size=0)


def test_result_is_json_and_names_its_protocol(result: dict):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    protocol = result["protocol"]
    assert protocol["name"] == "synthetic-ap"
    assert protocol["eps"] == [2.0, 4.0]
    assert (protocol["nms_radius"], protocol["threshold"], protocol["border"]) == (4, 1e-4, 0)
    other = evaluate_synthetic(detect, samples(), eps=[1.5], protocol=SyntheticProtocol(nms_radius=3))
    assert (other["protocol"]["eps"], other["protocol"]["nms_radius"]) == ([1.5], 3)
    assert list(other["pooled"]) == ["1.5"]


def test_no_samples():
    result = evaluate_synthetic(detect, [])
    assert (result["images"], result["pooled"]["2"]["ap"], result["mean_ap"]["2"]) == (0, None, None)
    json.dumps(result, allow_nan=False)


def test_flat_metrics_leave_out_what_is_undefined(result: dict):
    flat = flat_metrics(result, prefix="clean/")
    assert flat["clean/ap@2"] == pytest.approx(0.375)
    assert flat["clean/localisation@4"] == pytest.approx(4 / 3)
    assert set(flat) == {f"clean/{name}@{eps}" for name in ("ap", "localisation", "f1") for eps in (2, 4)}
    assert flat_metrics(evaluate_synthetic(detect, [])) == {}


def test_stored_curve_is_thinned_and_keeps_the_area():
    rng = np.random.default_rng(0)
    truth = np.stack(np.meshgrid(np.arange(8) * 10.0, np.arange(6) * 10.0), -1).reshape(-1, 2).astype(np.float32)

    def noisy(image: Image) -> Detections:
        points = np.concatenate([truth[rng.random(48) < 0.8], rng.uniform(0, 80, (40, 2))]).astype(np.float32)
        return points, rng.normal(np.where(np.arange(len(points)) < len(points) - 40, 1.0, 0.0)).astype(np.float32)

    result = evaluate_synthetic(noisy, [("polygon", np.zeros((60, 80), np.uint8), truth)] * 40)
    recall, precision = (np.array(result["curves"]["2"][key]) for key in ("recall", "precision"))
    assert 100 < len(recall) <= CURVE_POINTS + 1
    assert recall[0] == 0
    assert (np.diff(recall) > 0).all()
    assert (np.diff(precision) <= 0).all()
    assert recall[-1] == pytest.approx(result["pooled"]["2"]["max_recall"], abs=1e-4)
    area = float(np.sum(precision[1:] * np.diff(recall)))
    assert area == pytest.approx(result["pooled"]["2"]["ap"], abs=0.01)


def test_curves_of_several_results(result: dict):
    other = evaluate_synthetic(detect, list(samples())[1:2], detector="fast")  # noise alone: no curve
    curves = precision_recall_curves([result, other], 4)
    assert curves["fast"] == ([], [])
    assert curves["fake, clean"][0] == [0.0, 0.25, 0.5, 0.75]
    assert curves["fake, clean"][1] == [1.0, 1.0, 1.0, 0.75]
    assert label(result) == "fake, clean"


def test_tables(result: dict):
    other = evaluate_synthetic(detect, list(samples())[2:], detector="fast")
    summary = markdown_table(summary_table([result, other])).splitlines()
    assert summary[0].startswith("| detector | AP @2 px | mean AP @2 px | F1 @2 px | error @2 px | AP @4 px |")
    assert summary[1] == "| --- |" + " ---: |" * 8
    assert summary[2].startswith("| fake, clean | 0.375 | 0.667 |")
    assert len(summary) == 4
    rows = markdown_table(primitive_table([result, other], eps=4)).splitlines()
    assert rows[2:] == [
        "| noise | 1.0 fp | - |",
        "| polygon | 0.667 | 0.000 |",
        "| star | 1.000 | 1.000 |",
        "| mean | 0.833 | 0.500 |",
        "| pooled | 0.688 | 0.500 |",
    ]
    printed = io.StringIO()
    Console(width=120, file=printed).print(summary_table([result]))
    assert "pooled over 4 images" in printed.getvalue()


@dataclass
class FakeScene:
    image: Image
    points: NDArray[np.float32]
    primitive: str


class FakeSource:
    def scene(self, index: int, primitive: str | None = None) -> FakeScene:
        return FakeScene(np.full((8, 8), index, np.uint8), np.full((1, 2), index, np.float32), primitive or "mixed")


def test_samples_take_primitives_in_turn():
    drawn = list(synthetic_samples(FakeSource(), 5, primitives=["a", "b"]))
    assert [name for name, _, _ in drawn] == ["a", "b", "a", "b", "a"]
    assert [int(image[0, 0]) for _, image, _ in drawn] == [0, 1, 2, 3, 4]
    assert [name for name, _, _ in synthetic_samples(FakeSource(), 2)] == ["mixed", "mixed"]


def test_noise_depends_on_seed_and_index_only():
    def noise(image: Image, rng: np.random.Generator) -> Image:
        return rng.integers(0, 256, image.shape, np.uint8)

    longer = [image for _, image, _ in synthetic_samples(FakeSource(), 4, noise=noise, seed=3)]
    shorter = [image for _, image, _ in synthetic_samples(FakeSource(), 2, noise=noise, seed=3)]
    np.testing.assert_array_equal(longer[:2], shorter)
    assert (longer[0] != longer[1]).any()
    assert (longer[0] != next(iter(synthetic_samples(FakeSource(), 1, noise=noise, seed=4)))[1]).any()


PRIMITIVES = ["checkerboard", "cube", "polygon", "noise"]


def test_classical_detectors_on_the_generator():
    """Calibration: clean checkerboards, cubes and polygons are easy, and 4 px forgives more than 2."""
    source = ShapeGenerator(SyntheticConfig(texture=0.0), 120, 160, seed=11)
    for name in ("harris", "shi", "fast"):
        result = evaluate_synthetic(classical_detector(name), synthetic_samples(source, 48, primitives=PRIMITIVES))
        assert 0.6 < result["mean_ap"]["2"] <= result["mean_ap"]["4"] <= 1
        assert result["pooled"]["4"]["ap"] < result["mean_ap"]["4"]  # it fires on pure noise
        assert result["pooled"]["2"]["localisation_error"] < 0.8


def test_the_truth_itself_scores_one_and_a_shifted_one_by_its_shift():
    source = ShapeGenerator(SyntheticConfig(), 120, 160, seed=5)
    scenes = list(synthetic_samples(source, 32))
    answers = {image.tobytes(): points for _, image, points in scenes}

    def oracle(dx: float):
        def detect(image: Image) -> Detections:
            points = answers[image.tobytes()]
            return points + np.array([dx, 0], np.float32), np.ones(len(points), np.float32)

        return detect

    exact = evaluate_synthetic(oracle(0), scenes)["pooled"]["2"]
    assert (exact["ap"], exact["localisation_error"]) == (1.0, 0.0)
    shifted = evaluate_synthetic(oracle(0.5), scenes)["pooled"]["2"]
    assert shifted["ap"] > 0.99
    assert shifted["localisation_error"] == pytest.approx(0.5, abs=0.02)
    assert evaluate_synthetic(oracle(400), scenes)["pooled"]["2"]["ap"] == 0.0
