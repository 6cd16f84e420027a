"""Records of pairs and their means, against cases worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from superpoint.config.evaluation import PROTOCOLS, EvaluatePairsConfig, load_pairs_config
from superpoint.data.pairs import ViewPair
from superpoint.errors import UserError
from superpoint.evaluation.pair_metrics import (
    PairRecord,
    groups,
    match_pair,
    measure_pair,
    measure_repeatability,
    summarise,
)
from superpoint.features import Features
from superpoint.matching import ESTIMATORS

CONFIG = EvaluatePairsConfig()
SHIFT = np.array([[1.0, 0, 5], [0, 1, -3], [0, 0, 1]])


def views(noise: float = 0.0) -> tuple[Features, Features]:
    """Forty points on a plane moved by `SHIFT`, each with a descriptor of its own."""
    rng = np.random.default_rng(0)
    points = np.stack(np.meshgrid(np.arange(20, 180, 20), np.arange(20, 120, 20)), axis=-1).reshape(-1, 2)
    points = points.astype(np.float32)
    moved = points + np.array([5, -3], np.float32) + rng.normal(0, noise, points.shape).astype(np.float32)
    scores = np.linspace(1, 0.1, 40).astype(np.float32)
    codes = np.eye(40, dtype=np.float32)
    return Features(points, scores, codes, (200, 140)), Features(moved, scores, codes, (200, 140))


def record(a: Features, b: Features, **changes: object) -> PairRecord:
    image = np.zeros((140, 200), np.uint8)
    return replace(measure_pair("m", ViewPair("s/1-2", "s", "c", image, image, SHIFT), a, b, CONFIG), **changes)


def test_perfect_features() -> None:
    made = record(*views())
    assert (made.repeatability_1, made.nn_map, made.matching_score) == (1, 1, 1)
    assert made.mma == (1.0,) * 10
    assert set(made.errors) == {"ransac", "magsac", "gcransac"}
    assert max(made.error(name) for name in made.errors) < 0.01
    assert (made.inliers["ransac"], made.matches, made.points) == (1, 40, 40)


def test_no_points_at_all_are_a_result() -> None:
    empty = Features(np.zeros((0, 2)), None, np.zeros((0, 8)), (200, 140))
    made = record(empty, empty)
    assert made.error() == np.inf
    assert (made.nn_map, made.matching_score, made.matches, made.mma[9]) == (0, 0, 0, 0)
    assert made.row()["ransac_error"] is None
    assert made.row()["repeatability_3"] is None


def test_keypoints_without_descriptors_are_measured_alone() -> None:
    a, b = views()
    made = record(replace(a, descriptors=None), replace(b, descriptors=None))
    assert (made.repeatability_1, made.localisation_1, made.counted) == (1, 0, pytest.approx(40, abs=5))
    assert (made.nn_map, made.matching_score, made.matches, made.error()) == (0, 0, 0, np.inf)


def test_means_intervals_and_groups() -> None:
    a, b = views(noise=0.5)
    records = [
        record(a, b, errors=dict.fromkeys(ESTIMATORS, (error,)), localisation=place, sequence=sequence, change=change)
        for error, place, sequence, change in (
            (0.5, 1.0, "x", "i"),
            (2.0, 3.0, "x", "i"),
            (4.0, np.nan, "y", "v"),
            (np.inf, np.nan, "y", "v"),
        )
    ]
    table = summarise(records)
    assert [table[f"ransac_{eps}"]["value"] for eps in (1, 3, 5)] == [0.25, 0.5, 0.75]
    assert table["ransac_auc_5"]["value"] == pytest.approx((0.9 + 0.6 + 0.2 + 0) / 4)
    assert table["localisation"]["value"] == 2.0
    assert table["ransac_3"]["low"] < 0.5 < table["ransac_3"]["high"]
    assert summarise(records, intervals=False)["ransac_3"]["low"] is None
    assert summarise(records) == table
    assert [(kind, name, len(members)) for kind, name, members in groups(records)] == [
        ("all", "all", 4),
        ("change", "i", 2),
        ("change", "v", 2),
        ("sequence", "x", 2),
        ("sequence", "y", 2),
    ]


def test_other_orders_of_the_matches() -> None:
    """The first is that of one order; the shares are means; what an estimate calls inliers stays with its matches."""
    a, b = views(noise=0.5)
    moved = np.where(np.arange(40)[:, None] < 8, b.keypoints + np.float32(30), b.keypoints)
    several = EvaluatePairsConfig(orders=6)
    outcome = match_pair(a, replace(b, keypoints=moved), several)
    alone = match_pair(a, replace(b, keypoints=moved), CONFIG)
    wrong = outcome.matches.indices[:, 1] < 8
    for name in ESTIMATORS:
        assert len(outcome.estimates[name]) == 6
        np.testing.assert_array_equal(outcome.estimates[name][0].matrix, alone.estimates[name][0].matrix)
        assert not any(each.inliers[wrong].any() for each in outcome.estimates[name])
        assert all(each.inliers[~wrong].mean() > 0.5 for each in outcome.estimates[name])
    assert len({str(each.matrix) for each in outcome.estimates["ransac"]}) > 1  # they do differ
    made = record(a, b, errors=dict.fromkeys(ESTIMATORS, (0.5, 2.0, 4.0, np.inf)))
    assert (made.error(), made.row()["magsac_error"]) == (3.0, 3.0)
    table = summarise([made])
    assert [table[f"gcransac_{eps}"]["value"] for eps in (1, 3, 5)] == [0.25, 0.5, 0.75]
    assert table["gcransac_auc_5"]["value"] == pytest.approx((0.9 + 0.6 + 0.2 + 0) / 4)


def test_repeatability_thins_points_that_cluster() -> None:
    a, b = views()
    twice = np.concatenate([a.keypoints, a.keypoints + np.float32(1)])
    cluster = Features(twice, np.tile(a.scores, 2), None, a.image_size)
    assert measure_repeatability(cluster, b, SHIFT, CONFIG) == measure_repeatability(a, b, SHIFT, CONFIG)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_protocols_load_and_describe_what_differs(name: str) -> None:
    config = load_pairs_config(None, [f"protocol={name}"])
    assert config.describe() == name
    changed = load_pairs_config(None, [f"protocol={name}", "max_keypoints=77", "backend=torch"])
    assert changed.describe() == f"{name}, max_keypoints=77"


def test_paper_is_what_the_paper_says() -> None:
    config = load_pairs_config(None, ["protocol=paper"])
    assert (config.size, config.max_keypoints, config.nms_radius, config.ransac) == ([480, 640], 1000, 8, 3.0)
    assert (config.repeatability_size, config.repeatability_keypoints, config.repeatability_nms) == ([240, 320], 300, 4)
    with pytest.raises(UserError, match="did you mean 'paper'"):
        load_pairs_config(None, ["protocol=papers"])
