"""Keypoints and matches of OpenCV, whose pixel centres are at integers, too."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.features import Features
from superpoint.matching import Matches

SIZE = 8.0  # px, diameter of all keypoints


def to_keypoints(features: Features) -> list[cv2.KeyPoint]:
    """Return OpenCV's keypoints in the order of the features; `response` is the score, `angle` -1 (none)."""
    return [
        cv2.KeyPoint(float(x), float(y), SIZE, -1.0, float(score))
        for (x, y), score in zip(features.keypoints.tolist(), features.scores.tolist(), strict=True)
    ]


def from_keypoints(
    keypoints: Sequence[cv2.KeyPoint],
    descriptors: NDArray[np.generic] | None,
    image_size: tuple[int, int],
) -> Features:
    """Return features of OpenCV's keypoints, strongest first, with floating descriptors [N, D] scaled to unit length.

    Raises: ValueError for descriptors in bytes.
    """
    points = np.array([key.pt for key in keypoints], np.float32).reshape(-1, 2)
    scores = np.array([key.response for key in keypoints], np.float32)
    order = np.argsort(-scores, kind="stable")
    values = None
    if descriptors is not None:
        if descriptors.dtype == np.uint8:
            raise ValueError("descriptors: found uint8, expected floating point; evaluation.matching takes bits")
        array = np.asarray(descriptors, np.float32)[order]
        values = array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-12)
    return Features(points[order], scores[order], values, image_size)


def to_dmatches(matches: Matches) -> list[cv2.DMatch]:
    """Return matches with query = first image, train = second; distance sqrt(2 - 2 score), as of unit descriptors."""
    distance = np.sqrt(np.maximum(2 - 2 * matches.scores.astype(np.float64), 0))
    return [
        cv2.DMatch(int(first), int(second), float(far))
        for (first, second), far in zip(matches.indices.tolist(), distance.tolist(), strict=True)
    ]


def from_dmatches(found: Sequence[cv2.DMatch]) -> Matches:
    """Return OpenCV's matches of unit descriptors, best first; the inverse of `to_dmatches`."""
    order = sorted(found, key=lambda each: each.distance)
    indices = np.array([(each.queryIdx, each.trainIdx) for each in order], np.int64).reshape(-1, 2)
    return Matches(indices, np.array([1 - each.distance**2 / 2 for each in order], np.float32))
