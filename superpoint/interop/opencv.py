"""Keypoints and matches of OpenCV, whose pixel centres are at integers, too."""

import cv2
import numpy as np

from superpoint.features import Features
from superpoint.matching import Matches

SIZE = 8.0  # px, diameter of all keypoints


def to_keypoints(features: Features) -> list[cv2.KeyPoint]:
    """Return OpenCV's keypoints in the order of the features; `response` is the score, `angle` -1 (none)."""
    return [
        cv2.KeyPoint(float(x), float(y), SIZE, -1.0, float(score))
        for (x, y), score in zip(features.keypoints.tolist(), features.scores.tolist(), strict=True)
    ]


def to_dmatches(matches: Matches) -> list[cv2.DMatch]:
    """Return matches with query = first image, train = second; distance sqrt(2 - 2 score), as of unit descriptors."""
    distance = np.sqrt(np.maximum(2 - 2 * matches.scores.astype(np.float64), 0))
    return [
        cv2.DMatch(int(first), int(second), float(far))
        for (first, second), far in zip(matches.indices.tolist(), distance.tolist(), strict=True)
    ]
