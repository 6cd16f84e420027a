import math

import numpy as np
import pytest

from superpoint.geometry.placement import measure_placement

SIZE = (120, 160)


def spread(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform((-0.5, -0.5), (159.5, 119.5), (count, 2)) * 0.999


def test_even_points_have_no_preference() -> None:
    found = measure_placement([spread(2000), spread(2000, 1)], [SIZE, SIZE])
    assert found.keypoints == 4000
    assert found.border == pytest.approx(1.0, abs=0.08)
    assert 0.5 < found.phase < 1.6
    assert found.fullest == pytest.approx(0.125, abs=0.02)


def test_points_on_the_border_are_seen() -> None:
    points = spread(400)
    points[:, 0] = 2.0
    area = 1 - (104 * 144) / (120 * 160)
    assert measure_placement([points], [SIZE]).border == pytest.approx(1 / area)


def test_a_grid_is_seen() -> None:
    cells = np.random.default_rng(0).integers(0, (20, 15), (300, 2))
    found = measure_placement([cells * 8.0 + (3, 5)], [SIZE])
    assert found.phase > 100
    assert found.fullest == 1.0


def test_no_points() -> None:
    found = measure_placement([np.zeros((0, 2))], [SIZE])
    assert found.keypoints == 0
    assert math.isnan(found.border)
