"""Metrics of an image pair with a known homography: its matches, and the homography estimated from them.

All distances are in pixels of the images as they were given to the detector. Sources: the appendix of DeTone et al.
2018 for homography correctness, NN-mAP and matching score; Dusmanu et al. 2019 (D2-Net) for the mean matching accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from superpoint.evaluation.matching import unit_descriptors
from superpoint.evaluation.metrics import Matches, average_precision, precision_recall
from superpoint.geometry.homography import Matrix, frame_corners, inside, inverse, warp_points


def corner_error(estimated: Matrix | None, h_a_b: Matrix, size_a: tuple[int, int]) -> float:
    """Mean distance in pixels of view b between the four corners of view a (height, width) mapped by the two matrices.

    Infinite if there is no estimate, or if it throws a corner behind the horizon.
    """
    if estimated is None:
        return float("inf")
    # OpenCV scales the last element to 1, so the sign of the matrix says nothing; depth is positive at the centre.
    height, width = size_a
    depth = estimated[2] @ (width / 2, height / 2, 1.0)
    corners = frame_corners(height, width)
    apart = warp_points(corners, np.sign(depth) * estimated).astype(np.float64) - warp_points(corners, h_a_b)
    distance = np.linalg.norm(apart, axis=1)
    return float(distance.mean()) if np.isfinite(distance).all() else float("inf")


def correctness(errors: ArrayLike, eps: float) -> float:
    """Share of pairs whose corner error is at most `eps`; NaN without pairs."""
    values = np.asarray(errors, np.float64)
    return float((values <= eps).mean()) if values.size else float("nan")


def area_under_curve(errors: ArrayLike, eps: float) -> float:
    """Area under the curve of correctness over the threshold from 0 to `eps`, divided by `eps`: 0..1.

    Exact for that step function, which makes it the mean of max(0, 1 - error / eps). Published code joins the sorted
    errors by straight lines instead and comes out slightly higher.
    """
    values = np.asarray(errors, np.float64)
    return float(np.clip(1 - values / eps, 0, 1).mean()) if values.size else float("nan")


def match_errors(points_a: NDArray[np.floating], points_b: NDArray[np.floating], h_a_b: Matrix) -> NDArray[np.float64]:
    """Distance [K] in pixels of view b of each match from where the homography maps its point of a; inf if nowhere."""
    distance = np.linalg.norm(warp_points(points_a, h_a_b).astype(np.float64) - points_b, axis=1)
    return np.where(np.isfinite(distance), distance, np.inf)


def matching_accuracy(errors: ArrayLike, thresholds: Sequence[float] = tuple(range(1, 11))) -> NDArray[np.float64]:
    """Share of a pair's matches within each threshold; 0 for a pair without matches. Its mean over pairs is the MMA."""
    values = np.asarray(errors, np.float64).reshape(-1)
    if not values.size:
        return np.zeros(len(thresholds))
    return np.array([(values <= threshold).mean() for threshold in thresholds])


def matching_score(
    points_a: NDArray[np.floating],
    points_b: NDArray[np.floating],
    pairs: NDArray[np.integer],
    h_a_b: Matrix,
    size_a: tuple[int, int],
    size_b: tuple[int, int],
    eps: float = 3.0,
) -> float:
    """Correct matches over the points in the region that both views share, averaged over the two views; 0..1.

    A match is correct if it lies within `eps`. 0 where a view has no point in the shared region.
    """
    seen_a, seen_b = shared_points(points_a, points_b, h_a_b, size_a, size_b)
    if not seen_a.any() or not seen_b.any():
        return 0.0
    correct = match_errors(points_a[pairs[:, 0]], points_b[pairs[:, 1]], h_a_b) <= eps
    correct &= seen_a[pairs[:, 0]] & seen_b[pairs[:, 1]]
    return float(0.5 * correct.sum() * (1 / seen_a.sum() + 1 / seen_b.sum()))


def shared_points(
    points_a: NDArray[np.floating],
    points_b: NDArray[np.floating],
    h_a_b: Matrix,
    size_a: tuple[int, int],
    size_b: tuple[int, int],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which points [N, 2] of view a fall on view b, and which [M, 2] of view b on view a."""
    back = warp_points(points_b, inverse(h_a_b))
    return inside(warp_points(points_a, h_a_b), *size_b), inside(back, *size_a)


def nearest_neighbour_precision(
    points_a: NDArray[np.floating],
    points_b: NDArray[np.floating],
    descriptors_a: NDArray[np.generic],
    descriptors_b: NDArray[np.generic],
    h_a_b: Matrix,
    eps: float = 3.0,
) -> float:
    """NN-mAP: average precision of nearest-neighbour matching over the threshold on similarity, mean of two directions.

    A match is correct if it lies within `eps`; a point counts for recall if the other view has any point there. NaN if
    no point has a counterpart.
    """
    if not len(points_a) or not len(points_b):
        return float("nan")
    similarity = unit_descriptors(descriptors_a) @ unit_descriptors(descriptors_b).T
    mapped = warp_points(points_a, h_a_b).astype(np.float64)
    places = np.asarray(points_b, np.float64)
    # Axis by axis: three times as fast as the norm over [N, M, 2]. NaN, a point mapped nowhere, is near nothing.
    across, down = mapped[:, :1] - places[None, :, 0], mapped[:, 1:] - places[None, :, 1]
    near = across * across + down * down <= eps * eps  # [N, M]
    both = []
    for alike, correct in ((similarity, near), (similarity.T, near.T)):
        nearest = alike.argmax(axis=1)
        rows = np.arange(len(alike))
        score = alike[rows, nearest].astype(np.float64)
        order = np.argsort(-score, kind="stable")
        hit = correct[rows, nearest][order]
        matches = Matches(score[order], hit, np.where(hit, 0.0, np.nan), int(correct.any(axis=1).sum()))
        both.append(average_precision(precision_recall([matches])))
    return float(np.mean(both))


def bootstrap_interval(
    values: ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over pairs: which range `level` of resampled means fall into.

    NaN values are left out; (nan, nan) without any. Deterministic in `seed`.
    """
    sample = np.asarray(values, np.float64).reshape(-1)
    sample = sample[~np.isnan(sample)]
    if not sample.size:
        return float("nan"), float("nan")
    rng = np.random.Generator(np.random.SFC64(seed))
    means = sample[rng.integers(0, len(sample), (draws, len(sample)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
