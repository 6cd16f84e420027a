"""The homography between two images, of a plane or a turning camera, from their matches."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.errors import check_number, check_one_of
from superpoint.features import Features
from superpoint.geometry.homography import Matrix
from superpoint.matching.matches import Matches, matched_keypoints

OPENCV = {"ransac": cv2.RANSAC, "magsac": cv2.USAC_MAGSAC, "gcransac": cv2.USAC_ACCURATE}
ESTIMATORS = tuple(OPENCV)
# px. MAGSAC's counts as a scale of the noise, and is taken smaller.
THRESHOLDS = {"gcransac": 2.0, "ransac": 3.0, "magsac": 1.0}
# GC-RANSAC's samples cost a twentieth of RANSAC's. With so many it finds 500 matches of which 12 % are right as often.
ITERATIONS = {"gcransac": 50_000, "ransac": 5000, "magsac": 5000}
MIN_MATCHES = 4  # a homography has eight degrees of freedom


class Homography(NamedTuple):
    """`matrix` [3, 3] maps points of the first image to the second, None if none was found; `inliers`: bool [M]."""

    matrix: Matrix | None
    inliers: NDArray[np.bool_]


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
    """Estimate the homography from the first image to the second, of a plane or a turning camera; see `fit_homography`.

    Raises: ValueError for matches that point beyond the keypoints.

    >>> import numpy as np
    >>> corners = np.array([[10, 10], [50, 10], [50, 40], [10, 40], [30, 20]], np.float32)
    >>> first = Features(corners, np.ones(5), None, (64, 64))
    >>> second = Features(corners + (5, -3), np.ones(5), None, (64, 64))
    >>> H, inliers = estimate_homography(first, second, Matches(np.stack([np.arange(5)] * 2, axis=1), np.ones(5)))
    >>> (H.round(2) + 0).tolist(), int(inliers.sum())
    ([[1.0, 0.0, 5.0], [0.0, 1.0, -3.0], [0.0, 0.0, 1.0]], 5)
    """
    first, second = matched_keypoints(features0, features1, matches)
    return fit_homography(first, second, method, threshold=threshold, iterations=iterations, confidence=confidence)


def fit_homography(
    points0: NDArray[np.floating],
    points1: NDArray[np.floating],
    method: str = "gcransac",
    *,
    threshold: float | None = None,
    iterations: int | None = None,
    confidence: float = 0.9999,
) -> Homography:
    """Fit the homography that maps matched points [M, 2] (x, y) of the first image to the second.

    Args:
        method: "gcransac" (OpenCV's USAC_ACCURATE: GC-RANSAC, Barath and Matas 2018), "ransac" (Fischler and Bolles
            1981) or "magsac" (USAC_MAGSAC, Barath et al. 2020). Mirrored images need "ransac": the others refuse
            samples that change the orientation.
        threshold: max distance of an inlier in pixels of the second image; None = THRESHOLDS.
        iterations: max number of samples; None = ITERATIONS.
        confidence: probability of a sample without outliers at which the search ends.

    Returns:
        The matrix and the inliers; None and no inliers for fewer than four matches, or if they allow no homography.
        Equal input gives equal output; another order of the matches may not.

    Raises:
        UserError: an unknown method, a value out of range.
        ValueError: unequal numbers of points.
    """
    check_estimator(method, threshold, iterations, confidence)
    first, second = (np.asarray(points, np.float64).reshape(-1, 2) for points in (points0, points1))
    if len(first) != len(second):
        raise ValueError(f"points: found {len(first)} and {len(second)}, expected matched points, as many in each")
    none = Homography(None, np.zeros(len(first), bool))
    if len(first) < MIN_MATCHES:
        return none
    found, agreeing = cv2.findHomography(
        first,
        second,
        OPENCV[method],
        THRESHOLDS[method] if threshold is None else threshold,
        maxIters=ITERATIONS[method] if iterations is None else iterations,
        confidence=min(confidence, 1 - 1e-9),
    )
    if found is None or not np.isfinite(found).all() or abs(np.linalg.det(found)) < 1e-12:
        return none
    inliers = agreeing.reshape(-1).astype(bool)
    # A homography has no scale, and OpenCV's any sign: positive where the matches are, so that points in front of
    # the camera stay there (`geometry.warp_points`).
    centre = first[inliers].mean(axis=0) if inliers.any() else first.mean(axis=0)
    sign = np.sign(found[2] @ np.append(centre, 1.0)) or 1.0
    scale = abs(found[2, 2])
    return Homography(np.asarray(found * sign / (scale if scale > 1e-12 else 1.0), np.float64), inliers)


def check_estimator(
    method: str, threshold: float | None, iterations: int | None = None, confidence: float = 0.5
) -> None:
    """Raise UserError for an unknown estimator, or a value out of range."""
    check_one_of("method", method, ESTIMATORS)
    check_number("threshold", threshold, 0, above=True)
    check_number("iterations", iterations, 1, 2**31 - 1, whole=True)
    check_number("confidence", confidence, 0, 1)
