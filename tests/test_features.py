from typing import Any

import numpy as np
import pytest

from superpoint.inference import Features, Matches

POINTS, SCORES = np.array([[1.5, 2.0], [3.0, 4.0]]), np.array([0.9, 0.8])


def test_arrays_become_float32() -> None:
    features = Features(POINTS, SCORES, np.eye(2), (8, 6))
    assert len(features) == 2
    assert features.descriptors is not None
    assert features.keypoints.dtype == features.scores.dtype == features.descriptors.dtype == np.float32
    np.testing.assert_array_equal(features.keypoints, POINTS)
    empty = Features(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 64)), (8, 6))
    assert len(empty) == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"keypoints": POINTS.T[:1]}, r"scores: found shape \[2\], expected \[1\]"),
        ({"keypoints": np.zeros((2, 3))}, r"keypoints: found shape \[2, 3\], expected \[N, 2\]"),
        ({"keypoints": POINTS * np.nan}, "keypoints: found values that are not finite"),
        ({"keypoints": POINTS * 1e300}, "keypoints: found values that are not finite"),
        ({"keypoints": "abc"}, "keypoints: found str, expected an array of numbers"),
        ({"keypoints": [[1, 2], [3]]}, "keypoints: found list, expected an array of numbers"),
        ({"scores": SCORES[:1]}, r"scores: found shape \[1\], expected \[2\]"),
        ({"descriptors": np.zeros((64, 2))}, r"descriptors: found shape \[64, 2\], expected \[2, D\]"),
        ({"descriptors": np.zeros((2, 0))}, r"descriptors: found shape \[2, 0\]"),
        ({"descriptors": np.full((2, 4), np.inf)}, "descriptors: found values that are not finite"),
        ({"image_size": (0, 5)}, r"image_size: found \(0, 5\)"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"keypoints": POINTS, "scores": SCORES, "descriptors": None, "image_size": (8, 6)}
    with pytest.raises(ValueError, match=message):
        Features(**(given | changed))


def test_matches() -> None:
    matches = Matches(np.array([[0, 1], [1, 0]], np.int32), np.array([0.9, 0.5]))
    assert matches.indices.dtype == np.int64
    assert len(matches) == 2
    assert len(Matches(np.zeros((0, 2)), np.zeros(0))) == 0
    for indices, scores, message in (
        (np.zeros(2, int), np.zeros(1), r"indices: found shape \[2\]"),
        (np.zeros((1, 2)), np.zeros(1), "float64, expected whole numbers"),
        (np.zeros((1, 2), int), np.zeros(2), r"scores: found shape \[2\], expected \[1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            Matches(indices, scores)  # type: ignore[arg-type]
