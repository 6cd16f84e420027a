"""Every expected figure here was computed by hand, or by the naive matcher below."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpoint.evaluation.metrics import (
    Matches,
    average_precision,
    best_f1,
    localisation_error,
    match_detections,
    precision_recall,
)


def image(hits: str, scores: list[float], truth: int) -> Matches:
    """An image whose detections hit ("T", at distance 1) or not ("F")."""
    flags = np.array([hit == "T" for hit in hits], dtype=bool)
    return Matches(np.array(scores, dtype=float), flags, np.where(flags, 1.0, np.nan), truth)


def test_each_truth_counts_once_and_the_stronger_detection_takes_it():
    found = match_detections([[11, 10], [10, 10]], [0.9, 0.5], [[10, 10]], eps=2)
    assert found.true_positive.tolist() == [True, False]  # the nearer one comes too late
    np.testing.assert_array_equal(found.distance, [1.0, np.nan])
    assert found.truth == 1


def test_output_is_in_score_order_whatever_the_order_of_the_input():
    found = match_detections([[50, 50], [0, 0], [10, 13]], [0.2, 0.3, 0.9], [[0, 0], [10, 10]], eps=4)
    assert found.scores.tolist() == [0.9, 0.3, 0.2]
    assert found.true_positive.tolist() == [True, True, False]
    np.testing.assert_array_equal(found.distance, [3.0, 0.0, np.nan])


def test_a_detection_takes_the_nearest_free_truth():
    truth = [[0, 0], [3, 0]]
    found = match_detections([[1, 0], [0, 0]], [0.9, 0.8], truth, eps=4)
    # The first takes (0, 0) at 1 px, not (3, 0) at 2; the second finds that taken and gets (3, 0) at 3 px.
    np.testing.assert_array_equal(found.distance, [1.0, 3.0])
    assert match_detections([[1, 0], [0, 0]], [0.9, 0.8], truth, eps=2).true_positive.tolist() == [True, False]


def test_eps_is_inclusive_and_euclidean():
    assert match_detections([[3, 4]], [1], [[0, 0]], eps=5).true_positive.all()
    assert not match_detections([[3, 4]], [1], [[0, 0]], eps=4.999).true_positive.any()
    assert match_detections([[2, 1]], [1], [[2, 1]], eps=0).distance.tolist() == [0.0]
    assert not match_detections([[10, 20]], [1], [[20, 10]], eps=4).true_positive.any()


def test_equal_scores_keep_their_order():
    found = match_detections([[1, 0], [0, 0]], [0.5, 0.5], [[0, 0]], eps=2)
    np.testing.assert_array_equal(found.distance, [1.0, np.nan])


@pytest.mark.parametrize(
    ("points", "scores", "truth", "eps", "message"),
    [
        ([[1, 2, 3]], [1], [[0, 0]], 2, "points: found shape"),
        ([[1, 2]], [1, 2], [[0, 0]], 2, "scores: found shape"),
        ([[1, 2]], [1], [0, 0], 2, "truth: found shape"),
        ([[1, math.nan]], [1], [[0, 0]], 2, "points: found coordinates"),
        ([[1, 2]], [math.inf], [[0, 0]], 2, "scores: found values"),
        ([[1, 2]], [1], [[0, 0]], -1, "eps: found -1"),
        ([[1, 2]], [1], [[0, 0]], math.nan, "eps: found nan"),
    ],
)
def test_unusable_input(points, scores, truth, eps, message):
    with pytest.raises(ValueError, match=message):
        match_detections(points, scores, truth, eps)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 30), truths=st.integers(0, 15), eps=st.floats(0, 8))
def test_agrees_with_a_naive_matcher(seed: int, count: int, truths: int, eps: float):
    rng = np.random.default_rng(seed)
    points, truth, scores = rng.uniform(0, 20, (count, 2)), rng.uniform(0, 20, (truths, 2)), rng.permutation(count)
    free, expected = set(range(truths)), []
    for index in sorted(range(count), key=lambda i: -scores[i]):
        near = [(math.dist(points[index], truth[j]), j) for j in free]
        best = min((pair for pair in near if pair[0] <= eps), default=(math.nan, None))
        free -= {best[1]}
        expected.append(best[0])
    np.testing.assert_allclose(match_detections(points, scores, truth, eps).distance, expected, atol=1e-9)


def test_precision_recall_by_hand():
    curve = precision_recall([image("TFT", [0.9, 0.8, 0.7], truth=3)])
    np.testing.assert_allclose(curve.recall, [1 / 3, 1 / 3, 2 / 3])
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3])
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7]
    assert curve.truth == 3
    # 1/3 at precision 1, 1/3 at 2/3, the last 1/3 never reached.
    assert average_precision(curve) == pytest.approx(1 / 3 + 2 / 9)


def test_average_precision_uses_the_envelope():
    # Raw precision 1, 1/2, 1/3, 1/2, 3/5 at recall 1/4, 1/4, 1/4, 1/2, 3/4; the envelope lifts 1/2 to 3/5.
    curve = precision_recall([image("TFFTT", [5, 4, 3, 2, 1], truth=4)])
    assert average_precision(curve) == pytest.approx(0.25 * 1 + 0.25 * 0.6 + 0.25 * 0.6)


def test_images_are_pooled_not_averaged():
    pool = [image("TF", [0.9, 0.2], truth=1), image("FT", [0.8, 0.7], truth=2)]
    # Pooled order .9 T, .8 F, .7 T, .2 F: precision 1, 1/2, 2/3, 1/2; recall 1/3, 1/3, 2/3, 2/3.
    assert average_precision(precision_recall(pool)) == pytest.approx(1 / 3 + 2 / 9)
    assert average_precision(precision_recall(pool[::-1])) == pytest.approx(1 / 3 + 2 / 9)


def test_equal_scores_are_one_step_so_that_the_order_of_images_is_no_matter():
    pool = [image("T", [7], truth=1), image("F", [7], truth=0)]
    for order in (pool, pool[::-1]):
        curve = precision_recall(order)
        assert (curve.recall.tolist(), curve.precision.tolist(), curve.threshold.tolist()) == ([1.0], [0.5], [7.0])
        assert average_precision(curve) == 0.5


def test_detections_on_images_without_truth_are_false_positives_of_the_pool():
    hit = image("T", [0.5], truth=1)
    assert average_precision(precision_recall([hit, image("FF", [0.9, 0.8], truth=0)])) == pytest.approx(1 / 3)
    assert average_precision(precision_recall([hit, image("FF", [0.4, 0.3], truth=0)])) == 1.0


def test_average_precision_without_truth_or_without_detections():
    assert math.isnan(average_precision(precision_recall([image("F", [0.9], truth=0)])))
    assert math.isnan(average_precision(precision_recall([])))
    assert average_precision(precision_recall([image("", [], truth=2)])) == 0.0
    assert average_precision(precision_recall([image("F", [0.9], truth=2)])) == 0.0


def test_best_f1_by_hand():
    # F1 along TFT of 3 truths: 2(1)(1/3)/(4/3) = 1/2, 2(1/2)(1/3)/(5/6) = 2/5, 2(2/3)(2/3)/(4/3) = 2/3.
    best = best_f1(precision_recall([image("TFT", [0.9, 0.8, 0.7], truth=3)]))
    assert best is not None
    assert best == pytest.approx((0.7, 2 / 3, 2 / 3, 2 / 3))


@pytest.mark.parametrize("case", [("F", [1.0], 2), ("F", [1.0], 0), ("", [], 2)])
def test_best_f1_without_any_hit(case: tuple[str, list[float], int]):
    assert best_f1(precision_recall([image(*case)])) is None


def test_localisation_error_averages_true_positives_over_images():
    first = match_detections([[1, 0], [20, 20], [40, 40]], [0.9, 0.8, 0.7], [[0, 0], [20, 20]], eps=2)
    second = match_detections([[0, 2]], [0.3], [[0, 0]], eps=2)
    assert localisation_error([first, second]) == pytest.approx((1 + 0 + 2) / 3)
    assert localisation_error([first, second], threshold=0.8) == pytest.approx(0.5)  # inclusive
    assert math.isnan(localisation_error([first, second], threshold=0.95))
    assert math.isnan(localisation_error([]))
