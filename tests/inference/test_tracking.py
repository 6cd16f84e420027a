import numpy as np
import pytest

from superpoint.errors import UserError
from superpoint.inference import Features
from superpoint.inference.tracking import PointTracker


def frame(names: list[int], shift: float = 0.0, dim: int = 16) -> Features:
    """Keypoints whose descriptors are the axes of their names."""
    points = np.array([[10.0 * name + shift, 5.0] for name in names]).reshape(-1, 2)
    return Features(points, np.ones(len(names)), np.eye(dim)[names], (200, 100))


def test_points_are_followed_end_and_begin() -> None:
    tracker = PointTracker()
    first = tracker.update(frame([0, 1, 2]))
    assert [(track.number, track.length) for track in first] == [(0, 1), (1, 1), (2, 1)]
    second = tracker.update(frame([2, 0, 7], shift=1.0))  # in another order; 1 is gone, 7 is new
    assert [(track.number, track.length) for track in second] == [(2, 2), (0, 2), (3, 1)]
    np.testing.assert_allclose(second[0].positions, [[20, 5], [21, 5]])
    third = tracker.update(frame([1, 7], shift=2.0))  # what comes back is a new track
    assert [(track.number, track.length) for track in third] == [(4, 1), (3, 2)]
    assert tracker.update(frame([])) == []
    assert [track.length for track in tracker.update(frame([1]))] == [1]


def test_only_the_latest_positions_are_kept() -> None:
    tracker = PointTracker(keep=3)
    (track,) = [tracker.update(frame([4], shift=index)) for index in range(6)][-1]
    assert track.length == 6
    np.testing.assert_allclose(np.array(track.positions)[:, 0], [43, 44, 45])


@pytest.mark.parametrize(("distance", "followed"), [(0.7, 2), (0.3, 1)])
def test_descriptors_too_far_apart_are_not_followed(distance: float, followed: int) -> None:
    tracker = PointTracker(max_distance=distance)
    tracker.update(Features(np.zeros((1, 2)), np.ones(1), np.array([[1.0, 0.0]]), (8, 8)))
    turned = np.array([[np.cos(0.5), np.sin(0.5)]])  # 0.495 away
    (track,) = tracker.update(Features(np.zeros((1, 2)), np.ones(1), turned, (8, 8)))
    assert track.length == followed


def test_what_cannot_be_tracked() -> None:
    tracker = PointTracker()
    with pytest.raises(UserError, match="track: found no descriptors"):
        tracker.update(Features(np.zeros((1, 2)), np.ones(1), None, (8, 8)))
    tracker.update(frame([1]))
    with pytest.raises(ValueError, match=r"found size \(8, 8\), expected \(200, 100\)"):
        tracker.update(Features(np.zeros((1, 2)), np.ones(1), np.eye(16)[:1], (8, 8)))
    for options in ({"max_distance": 0.0}, {"max_distance": 3.0}, {"keep": 1}):
        with pytest.raises(UserError, match="found"):
            PointTracker(**options)  # type: ignore[arg-type]
