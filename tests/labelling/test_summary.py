import json
from dataclasses import replace

import numpy as np
import pytest

from superpoint.features import Features
from superpoint.labelling.summary import coverage, summarise


def spread(count: int, seed: int, size: tuple[int, int] = (320, 240)) -> Features:
    """Evenly spread points."""
    points = np.random.default_rng(seed).uniform(-0.5, np.array(size) - 0.5, (count, 2)).astype(np.float32)
    return Features(points, None, None, size, None, 10)


def test_figures() -> None:
    found = summarise([spread(100, 1), spread(300, 2), spread(200, 3)], 0, skipped=0)
    assert (found.images, found.keypoints, found.empty) == (3, 600, 0)
    assert (found.min, found.median, found.max) == (100, 200, 300)
    assert found.density == pytest.approx(200 / (320 * 240) * 1e4)
    assert found.views == 10
    assert found.placement.border == pytest.approx(1, abs=0.2)
    assert found.alarms == []
    assert json.loads(json.dumps(found.as_dict()))["placement"]["keypoints"] == 600


def test_coverage() -> None:
    points = np.array([[0, 0], [15.4, 15.4], [15.6, 0], [39, 20]], np.float32)
    assert coverage(points, 24, 40) == 3 / 6  # blocks (0, 0), (0, 1), (1, 2) of 2 x 3
    assert coverage(points[:0], 24, 40) == 0


def test_border_and_cell_are_those_of_the_working_size() -> None:
    columns = np.arange(0, 320, 8, dtype=np.float32)
    small = np.stack([np.tile(columns, 30), np.repeat(np.arange(30) * 7.3, 40)], axis=1)
    original = Features(((small + 0.5) * 1.5 - 0.5).astype(np.float32), None, None, (480, 360))
    found = summarise([original], 320)
    assert found.placement.fullest == 1.0
    assert summarise([original], 0).placement.fullest < 1.0
    assert any("grid of its cells" in alarm for alarm in found.alarms)


def test_alarm_for_points_on_the_border() -> None:
    edge = spread(200, 0).keypoints * [1, 0.02]
    found = summarise([Features(np.vstack([edge, spread(200, 1).keypoints]), None, None, (320, 240))] * 2, 0)
    assert any("as dense at the border" in alarm for alarm in found.alarms)


def test_alarms_for_labels_that_collapse() -> None:
    few = summarise([spread(3, seed) for seed in range(10)], 0)
    assert any("the labels collapse" in alarm for alarm in few.alarms)
    none = summarise([spread(100, 0), spread(0, 1), spread(0, 2)], 0)
    assert any("2 of 3 images have no keypoint" in alarm for alarm in none.alarms)
    assert summarise([], 0).images == 0


def test_alarm_for_skipped_images() -> None:
    assert any("3 of 13 images were skipped" in alarm for alarm in summarise([spread(100, 0)] * 10, 0, 3).alarms)
    assert summarise([spread(100, 0)] * 10, 0, 1).alarms == []


def test_sizes_that_are_not_known_are_left_out() -> None:
    found = summarise([replace(spread(50, 0), image_size=(0, 0), views=None)], 0)
    assert found.keypoints == 50
    assert found.as_dict()["coverage"] is None
    assert found.as_dict()["views"] is None
