import json
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from superpoint.config import SyntheticConfig
from superpoint.data.synthetic import PRIMITIVES, ShapeGenerator
from superpoint.evaluation.classical import classical_detector
from superpoint.evaluation.evaluate_synthetic import shape_samples
from superpoint.evaluation.synthetic import (
    CURVE_POINTS,
    Detect,
    Sample,
    evaluate_synthetic,
    flat_metrics,
    label,
    precision_recall_curves,
    primitive_table,
    summary_table,
)
from superpoint.evaluation.tables import markdown_table
from superpoint.features import Features

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


def detect(images: Sequence[Image]) -> list[Features]:
    return [
        Features(np.reshape(points, (-1, 2)), scores) for points, scores in (FOUND[image[0, 0]] for image in images)
    ]


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
    weak_and_far = Features(np.array([[10, 10], [60, 40], [61, 10], [33, 10]]), [4, 3, 2, 1])
    pooled = evaluate_synthetic(lambda _: [weak_and_far], list(samples())[:1])["pooled"]["4"]
    # T F F T of 2: F1 2/3 at the first, 2/3 at the last: the stricter one counts, its error is 0, that of all 1.5.
    assert pooled["best_f1"]["threshold"] == 4
    assert (pooled["localisation_error_best_f1"], pooled["localisation_error"]) == (0.0, 1.5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_batches_give_the_same_result(result: dict, batch_size: int):
    sizes: list[int] = []

    def detect_batch(images: Sequence[Image]) -> list[Features]:
        sizes.append(len(images))
        return detect(images)

    batched = evaluate_synthetic(detect_batch, samples(), batch_size=batch_size, detector="fake", variant="clean")
    assert batched == result
    assert sizes == {1: [1] * 4, 2: [2, 2], 3: [3, 1], 32: [4]}[batch_size]
    with pytest.raises(ValueError, match="shorter"):
        evaluate_synthetic(lambda images: detect(images)[1:], samples(), batch_size=batch_size)


def test_batches_hold_images_of_one_size():
    shapes = [(8, 8), (8, 8), (8, 16), (8, 8)]
    seen: list[tuple[int, ...]] = []

    def detect_batch(images: Sequence[Image]) -> list[Features]:
        seen.append((len(images), *images[0].shape))
        return [Features(np.empty((0, 2)))] * len(images)

    mixed = [("star", np.zeros(shape, np.uint8), np.ones((1, 2), np.float32)) for shape in shapes]
    assert evaluate_synthetic(detect_batch, mixed)["images"] == 4
    assert seen == [(2, 8, 8), (1, 8, 16), (1, 8, 8)]


def test_result_is_json_and_names_its_protocol(result: dict):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    protocol = result["protocol"]
    assert protocol["name"] == "synthetic-ap"
    assert protocol["eps"] == [2.0, 4.0]
    assert (protocol["nms_radius"], protocol["threshold"], protocol["border"]) == (4, 1e-4, 0)


def test_flat_metrics_leave_out_what_is_undefined(result: dict):
    flat = flat_metrics(result, prefix="clean/")
    assert flat["clean/ap@2"] == pytest.approx(0.375)
    assert flat["clean/localisation@4"] == pytest.approx(4 / 3)
    assert set(flat) == {f"clean/{name}@{eps}" for name in ("ap", "localisation", "f1") for eps in (2, 4)}
    nothing = evaluate_synthetic(detect, [])
    assert (nothing["images"], nothing["mean_ap"]["2"], flat_metrics(nothing)) == (0, None, {})


def test_stored_curve_is_thinned_and_keeps_the_area():
    rng = np.random.default_rng(0)
    truth = np.stack(np.meshgrid(np.arange(8) * 10.0, np.arange(6) * 10.0), -1).reshape(-1, 2).astype(np.float32)

    def noisy(image: Image) -> Features:
        points = np.concatenate([truth[rng.random(48) < 0.8], rng.uniform(0, 80, (40, 2))])
        return Features(points, rng.normal(np.where(np.arange(len(points)) < len(points) - 40, 1.0, 0.0)))

    result = evaluate_synthetic(partial(map, noisy), [("polygon", np.zeros((60, 80), np.uint8), truth)] * 40)
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


def test_scenes_take_primitives_in_turn_and_noise_by_seed_and_index() -> None:
    clean = list(shape_samples("clean", 48, 64, 11, 3))
    assert [name for name, _, _ in clean] == [*PRIMITIVES, *PRIMITIVES][:11]
    noisy = list(shape_samples("noisy", 48, 64, 11, 3))
    for one, other, again in zip(clean, noisy, shape_samples("noisy", 48, 64, 4, 3), strict=False):
        assert np.array_equal(one[2], other[2])
        assert np.array_equal(other[1], again[1])
    assert sum(bool((one[1] != other[1]).any()) for one, other in zip(clean, noisy, strict=True)) > 5
    assert any(
        (one[1] != other[1]).any() for one, other in zip(noisy, shape_samples("noisy", 48, 64, 4, 4), strict=False)
    )


EASY = ["checkerboard", "cube", "polygon", "noise"]


def test_classical_detectors_on_the_generator():
    """Calibration: clean checkerboards, cubes and polygons are easy, and 4 px forgives more than 2."""
    source = ShapeGenerator(SyntheticConfig(texture=0.0), 120, 160, seed=11)
    for name in ("harris", "shi", "fast"):
        scenes = (source.scene(index, EASY[index % 4]) for index in range(48))
        samples = [(scene.primitive, scene.image, scene.points) for scene in scenes]
        result = evaluate_synthetic(partial(map, classical_detector(name)), samples)
        assert 0.6 < result["mean_ap"]["2"] <= result["mean_ap"]["4"] <= 1
        assert result["pooled"]["4"]["ap"] < result["mean_ap"]["4"]  # it fires on pure noise
        assert result["pooled"]["2"]["localisation_error"] < 0.8


def test_the_truth_itself_scores_one_and_a_shifted_one_by_its_shift():
    scenes = list(shape_samples("clean", 120, 160, 32, 5))
    answers = {image.tobytes(): points for _, image, points in scenes}

    def oracle(dx: float) -> Detect:
        def find(image: Image) -> Features:
            return Features(answers[image.tobytes()] + (dx, 0))

        return partial(map, find)

    exact = evaluate_synthetic(oracle(0), scenes)["pooled"]["2"]
    assert (exact["ap"], exact["localisation_error"]) == (1.0, 0.0)
    shifted = evaluate_synthetic(oracle(0.5), scenes)["pooled"]["2"]
    assert shifted["ap"] > 0.99
    assert shifted["localisation_error"] == pytest.approx(0.5, abs=0.02)
    assert evaluate_synthetic(oracle(400), scenes)["pooled"]["2"]["ap"] == 0.0
