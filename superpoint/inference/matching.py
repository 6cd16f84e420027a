"""Matches of the features of two images, and the homography between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superpoint.errors import UserError, check_number, check_one_of
from superpoint.features import Features, Matches

# px. MAGSAC's counts as a scale of the noise, and is taken smaller.
THRESHOLDS = {"gcransac": 2.0, "ransac": 3.0, "magsac": 1.0}
# GC-RANSAC's samples cost a twentieth of RANSAC's. With so many it finds 500 matches of which 12 % are right as often.
ITERATIONS = {"gcransac": 50_000, "ransac": 5000, "magsac": 5000}


class Homography(NamedTuple):
    """`matrix` [3, 3] maps points of the first image to the second, None if none was found; `inliers`: bool [M]."""

    matrix: NDArray[np.float64] | None
    inliers: NDArray[np.bool_]


def match(
    features0: Features,
    features1: Features,
    method: str = "mutual",
    *,
    ratio: float = 0.8,
    temperature: float = 0.05,
    min_score: float = 0.0,
) -> Matches:
    """Match the keypoints of two images by their descriptors.

    Args:
        method: every one keeps mutual nearest neighbours only. "mutual": no more is asked. "ratio": besides, the
            distance to the nearest is below `ratio` times that to the second nearest, in both directions (Lowe 2004).
            "dual_softmax": scored by the product of the softmax over both images of similarity / `temperature`
            (Rocco et al. 2018).
        min_score: matches score at least this: cosine similarity, or probability with "dual_softmax". 0 keeps all of
            the latter, and of the others those that are not opposed.

    Raises:
        UserError: features without descriptors, an unknown method, a value out of range.
        ValueError: descriptors of different lengths.

    >>> import numpy as np
    >>> points, scores = np.array([[10.0, 20.0], [30.0, 40.0]]), np.array([0.9, 0.8])
    >>> first = Features(points, scores, np.eye(2), (64, 64))
    >>> second = Features(points[::-1], scores, np.eye(2)[::-1], (64, 64))
    >>> match(first, second).indices.tolist()
    [[0, 1], [1, 0]]
    """
    from superpoint.matching import MATCHERS, match_descriptors  # here: OpenCV comes along

    check_one_of("method", method, MATCHERS)
    check_number("ratio", ratio, 0, 1, above=True)
    check_number("temperature", temperature, 0, above=True)
    check_number("min_score", min_score, -1, 1)
    first, second = (_descriptors(name, each) for name, each in (("features0", features0), ("features1", features1)))
    pairs, scores = match_descriptors(first, second, method, ratio=ratio, temperature=temperature)
    kept = scores >= min_score
    return Matches(pairs[kept], scores[kept])


def estimate_homography(
    features0: Features,
    features1: Features,
    matches: Matches,
    method: str = "gcransac",
    *,
    threshold: float | None = None,
    iterations: int | None = None,
    confidence: float = 0.9999,
) -> Homography:
    """The homography from the first image to the second, of a plane or of a camera that only turned.

    Args:
        method: "gcransac" (OpenCV's USAC_ACCURATE, Barath and Matas 2018), "ransac" (its RANSAC, refined over the
            inliers) or "magsac" (USAC_MAGSAC, Barath et al. 2020). For mirrored images take "ransac": the others
            find nothing or a wrong one.
        threshold: a match agrees within this many pixels of the second image; None = 2 (gcransac), 3 (ransac) or 1
            (magsac).
        iterations: most samples drawn; None = 50,000 (gcransac) or 5,000.
        confidence: to have drawn one sample without outliers, after which it ends early.

    Returns:
        (matrix, inliers); equal input gives equal output. Fewer than four matches, or matches that allow no homography,
        give None and no inliers: a result, not an error.

    Raises:
        UserError: an unknown method, a value out of range.
        ValueError: matches that point beyond the keypoints.

    >>> import numpy as np
    >>> corners = np.array([[10, 10], [50, 10], [50, 40], [10, 40], [30, 20]], np.float32)
    >>> first = Features(corners, np.ones(5), None, (64, 64))
    >>> second = Features(corners + (5, -3), np.ones(5), None, (64, 64))
    >>> H, inliers = estimate_homography(first, second, Matches(np.stack([np.arange(5)] * 2, axis=1), np.ones(5)))
    >>> (H.round(2) + 0).tolist(), int(inliers.sum())
    ([[1.0, 0.0, 5.0], [0.0, 1.0, -3.0], [0.0, 0.0, 1.0]], 5)
    """
    from superpoint import matching

    check_one_of("method", method, matching.ESTIMATORS)
    check_number("threshold", threshold, 0, above=True)
    check_number("iterations", iterations, 1, 2**31 - 1, whole=True)
    check_number("confidence", confidence, 0, 1)
    first, second = matched_points(features0, features1, matches)
    found = matching.estimate_homography(
        first,
        second,
        method,
        threshold=THRESHOLDS[method] if threshold is None else threshold,
        iterations=ITERATIONS[method] if iterations is None else iterations,
        confidence=min(confidence, 1 - 1e-9),
    )
    if found.h_a_b is None:
        return Homography(None, found.inliers)
    # A homography has no scale, and OpenCV's any sign: positive where the matches are, so that points in front of
    # the camera stay there (`geometry.warp_points`).
    centre = first[found.inliers].mean(axis=0) if found.inliers.any() else first.mean(axis=0)
    sign = np.sign(found.h_a_b[2] @ np.append(centre.astype(np.float64), 1.0)) or 1.0
    scale = abs(found.h_a_b[2, 2])
    return Homography(found.h_a_b * sign / (scale if scale > 1e-12 else 1.0), found.inliers)


def matched_points(
    features0: Features, features1: Features, matches: Matches
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The matched keypoints of both images, float32 [M, 2] each. Raises: ValueError for indices beyond them."""
    points: list[NDArray[Any]] = []
    for column, features in enumerate((features0, features1)):
        indices = matches.indices[:, column]
        if indices.size and not 0 <= indices.min() <= indices.max() < len(features):
            raise ValueError(
                f"matches: found indices {indices.min()}..{indices.max()} into features{column}, "
                f"expected 0..{len(features) - 1}, for it has {len(features)} keypoints"
            )
        points.append(features.keypoints[indices])
    return points[0], points[1]


def _descriptors(name: str, features: Features) -> NDArray[np.float32]:
    if not isinstance(features, Features):
        given: Sequence[object] | object = features
        raise ValueError(f"{name}: found {type(given).__name__}, expected the Features of one image")
    if features.descriptors is None:
        raise UserError(
            f"{name}: found no descriptors, expected those of a network with a descriptor head; "
            "detectors such as magicpoint have none"
        )
    return features.descriptors
