"""Metrics of an image pair with a known homography: keypoints, matches, and the estimated homography.

All distances are in pixels of the extractor's images. Sources: DeTone et al. 2018, appendix, and for the mean matching
accuracy Dusmanu et al. 2019 (D2-Net).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from superpoint.evaluation.metrics import Matches, average_precision, precision_recall
from superpoint.features import Features
from superpoint.geometry.homography import Matrix, frame_corners, inside, inverse, warp_points
from superpoint.matching import Comparison


def corner_error(estimated: Matrix | None, h_a_b: Matrix, size_a: tuple[int, int]) -> float:
    """Return the mean distance in pixels of view b between the corners of view a (height, width) by two matrices.

    Infinite if there is no estimate, or if it maps a corner behind the horizon.
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


def area_under_curve(errors: ArrayLike, eps: float) -> float:
    """Return the area under the curve of correctness over the threshold from 0 to `eps`, divided by `eps`: 0..1.

    Exact for this step function; published code interpolates and gives slightly more.
    """
    values = np.asarray(errors, np.float64)
    return float(np.clip(1 - values / eps, 0, 1).mean()) if values.size else float("nan")


def match_errors(points_a: NDArray[np.floating], points_b: NDArray[np.floating], h_a_b: Matrix) -> NDArray[np.float64]:
    """Return the distance [K] in pixels of view b between b's points and a's, mapped; infinite beyond the horizon."""
    distance = np.linalg.norm(warp_points(points_a, h_a_b).astype(np.float64) - points_b, axis=1)
    return np.where(np.isfinite(distance), distance, np.inf)


def matching_accuracy(errors: ArrayLike, thresholds: Sequence[float]) -> NDArray[np.float64]:
    """Return the share of a pair's matches within each threshold, 0 without matches; its mean over pairs is the MMA."""
    values = np.asarray(errors, np.float64)
    return np.array([(values <= threshold).mean() if values.size else 0.0 for threshold in thresholds])


def matching_score(a: Features, b: Features, matches: NDArray[np.integer], h_a_b: Matrix, eps: float = 3.0) -> float:
    """Return the correct matches over the keypoints that both views see, mean of the two views; 0 without any.

    A match [K, 2] is correct within `eps` pixels of view b.
    """
    seen_a, seen_b = _shared(a, b, h_a_b)
    if not seen_a.any() or not seen_b.any():
        return 0.0
    correct = match_errors(a.keypoints[matches[:, 0]], b.keypoints[matches[:, 1]], h_a_b) <= eps
    correct &= seen_a[matches[:, 0]] & seen_b[matches[:, 1]]
    return float(0.5 * correct.sum() * (1 / seen_a.sum() + 1 / seen_b.sum()))


def _shared(a: Features, b: Features, h_a_b: Matrix) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which keypoints of view a fall on view b, and which of view b on view a."""
    back = warp_points(b.keypoints, inverse(h_a_b))
    return inside(warp_points(a.keypoints, h_a_b), *b.image_size[::-1]), inside(back, *a.image_size[::-1])


class Repeatability(NamedTuple):
    """share: keypoints with one of the other view within eps, over all of both views, 0..1; NaN without keypoints.
    error: mean distance in px of the repeated keypoints to their nearest one; NaN if none is.
    counted: mean number of keypoints of the two views.
    """

    share: float
    error: float
    counted: float


def repeatability(
    a: Features, b: Features, h_a_b: Matrix, eps: Sequence[float], max_keypoints: int = 300
) -> list[Repeatability]:
    """Return the repeatability of the keypoints of two views, strongest first, at each eps in pixels of view b.

    Keypoints that the other view does not see are dropped, then the strongest are kept (0 = all). A keypoint may be the
    nearest of several.
    """
    seen_a, seen_b = _shared(a, b, h_a_b)
    mapped, seen = warp_points(a.keypoints[seen_a], h_a_b), b.keypoints[seen_b]
    if max_keypoints:
        mapped, seen = mapped[:max_keypoints], seen[:max_keypoints]
    count = (len(mapped) + len(seen)) / 2
    if not len(mapped) or not len(seen):
        return [Repeatability(0.0 if count else float("nan"), float("nan"), count)] * len(eps)
    apart = _squared_distances(mapped, seen)
    distance = np.sqrt(np.concatenate([apart.min(axis=1), apart.min(axis=0)]))
    near = [distance[distance <= threshold] for threshold in eps]
    return [
        Repeatability(len(each) / len(distance), float(each.mean()) if len(each) else float("nan"), count)
        for each in near
    ]


def nearest_neighbour_precision(compared: Comparison, h_a_b: Matrix, eps: float = 3.0) -> float:
    """Return NN-mAP: average precision of nearest-neighbour matching by similarity, mean of the two directions.

    A match is correct within `eps` pixels of view b; a keypoint counts for recall if the other view has any there.
    NaN if no keypoint has a counterpart.
    """
    if not compared.similarity.size:
        return float("nan")
    mapped = warp_points(compared.a.keypoints, h_a_b).astype(np.float64)
    places = compared.b.keypoints.astype(np.float64)
    near = _squared_distances(mapped, places) <= eps * eps
    index_a, index_b = np.arange(len(mapped)), np.arange(len(places))
    both = []
    for rows, columns, axis in ((index_a, compared.to_b, 1), (compared.to_a, index_b, 0)):
        score = compared.similarity[rows, columns].astype(np.float64)
        order = np.argsort(-score, kind="stable")
        hit = near[rows, columns][order]
        matches = Matches(score[order], hit, np.where(hit, 0.0, np.nan), int(near.any(axis=axis).sum()))
        both.append(average_precision(precision_recall([matches])))
    return float(np.mean(both))


def _squared_distances(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """Distances [N, M] axis by axis: eight times as fast as the norm over [N, M, 2]."""
    across, down = first[:, :1] - second[None, :, 0], first[:, 1:] - second[None, :, 1]
    return across * across + down * down


def bootstrap_interval(values: ArrayLike, *, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean, NaN left out; (nan, nan) without values."""
    sample = np.asarray(values, np.float64).reshape(-1)
    sample = sample[~np.isnan(sample)]
    if not sample.size:
        return float("nan"), float("nan")
    rng = np.random.Generator(np.random.SFC64(seed))
    means = sample[rng.integers(0, len(sample), (2000, len(sample)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def paired_test(differences: NDArray[np.floating], *, draws: int = 9999, seed: int = 0) -> NDArray[np.float64]:
    """Return a p-value [C] per column of differences [N, C] between two methods, one row per independent subject.

    A sign-flip permutation test of the means: were the methods equal, any row might as well have the other sign. All
    columns share the flips, and each is compared with the largest of all columns (Westfall and Young 1993), so that
    the chance of any p-value <= .05 among equal methods is .05. NaN counts as no difference; with few rows no p-value
    is small: at best 2 / 2^N.
    """
    known = np.nan_to_num(np.asarray(differences, np.float64))
    spread = np.sqrt((known**2).sum(axis=0))
    scaled = np.divide(known, spread, out=np.zeros_like(known), where=spread > 0)
    rng = np.random.Generator(np.random.SFC64(seed))
    largest = np.abs(rng.choice([-1.0, 1.0], (draws, len(known))) @ scaled).max(axis=1)
    found = np.abs(scaled.sum(axis=0))
    return (1 + (largest[:, None] >= found - 1e-9).sum(axis=0)) / (1 + draws)
