"""Matching descriptors of two images, and the homography between them. Arrays in, arrays out."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.geometry.homography import Matrix

MATCHERS = ("mutual", "ratio", "dual_softmax")
OPENCV = {"ransac": cv2.RANSAC, "magsac": cv2.USAC_MAGSAC, "gcransac": cv2.USAC_ACCURATE}
ESTIMATORS = tuple(OPENCV)
MIN_MATCHES = 4  # a homography has eight degrees of freedom


class DescriptorMatches(NamedTuple):
    """Pairs of points, best first.

    pairs: int64 [K, 2], indices into the points of image a and of image b; each index at most once.
    scores: float32 [K], descending: cosine similarity (mutual, ratio) or probability (dual_softmax).
    """

    pairs: NDArray[np.int64]
    scores: NDArray[np.float32]


class Comparison(NamedTuple):
    """The descriptors of image a, N, against those of image b, M.

    similarity: float32 [N, M], cosines. to_b [N], to_a [M]: the most similar point of the other image, the first of
    equals; int64, empty if either image has no points.
    """

    similarity: NDArray[np.float32]
    to_b: NDArray[np.int64]
    to_a: NDArray[np.int64]


class Estimate(NamedTuple):
    """A homography [3, 3] from image a to image b, None if none was found, and which matches [K] agree with it."""

    h_a_b: Matrix | None
    inliers: NDArray[np.bool_]


def unit_descriptors(descriptors: NDArray[np.generic]) -> NDArray[np.float32]:
    """Descriptors [N, D] scaled to unit length, so that the largest dot product is the smallest distance.

    uint8 is taken as packed bits (ORB, AKAZE) and becomes +-1 a bit: dot products then order as Hamming distances do.
    """
    if descriptors.ndim != 2:
        raise ValueError(f"descriptors: found shape {list(descriptors.shape)}, expected [N, D]")
    values = descriptors.astype(np.float32)
    if descriptors.dtype == np.uint8:
        values = np.unpackbits(descriptors.astype(np.uint8), axis=1).astype(np.float32) * 2 - 1
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def compare_descriptors(descriptors_a: NDArray[np.generic], descriptors_b: NDArray[np.generic]) -> Comparison:
    """Compare descriptors [N, D] of image a with [M, D] of image b; see `unit_descriptors` for their types.

    Raises: ValueError for descriptors of different lengths.
    """
    first, second = unit_descriptors(descriptors_a), unit_descriptors(descriptors_b)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"descriptors: found lengths {first.shape[1]} and {second.shape[1]}, expected equal ones")
    similarity = first @ second.T
    none = np.zeros(0, np.int64)
    return Comparison(similarity, *(_largest(similarity) if similarity.size else (none, none)))


def _largest(values: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The place of the largest value of each row and of each column."""
    return values.argmax(axis=1), values.argmax(axis=0)


def match_descriptors(
    descriptors_a: NDArray[np.generic],
    descriptors_b: NDArray[np.generic],
    matcher: str = "mutual",
    *,
    ratio: float = 0.8,
    temperature: float = 0.05,
    least: float = 0.0,
) -> DescriptorMatches:
    """Match descriptors [N, D] of image a with [M, D] of image b: `match_compared` after `compare_descriptors`."""
    _check_matcher(matcher)
    compared = compare_descriptors(descriptors_a, descriptors_b)
    return match_compared(compared, matcher, ratio=ratio, temperature=temperature, least=least)


def match_compared(
    compared: Comparison,
    matcher: str = "mutual",
    *,
    ratio: float = 0.8,
    temperature: float = 0.05,
    least: float = 0.0,
) -> DescriptorMatches:
    """Matches of two images whose descriptors were compared.

    Every matcher keeps mutual nearest neighbours only. "ratio" also asks that the distance to the nearest is below
    `ratio` times that to the second nearest, in both directions (Lowe 2004, section 7.1, made symmetric).
    "dual_softmax" scores by the product of the softmax over b and over a of similarity / `temperature` (as in Rocco et
    al. 2018 and LoFTR) and keeps what scores at least `least`.

    Raises: ValueError for another matcher.
    """
    _check_matcher(matcher)
    score, to_b, to_a = compared
    if not score.size:
        return DescriptorMatches(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
    if matcher == "dual_softmax":
        score = _dual_softmax(score / temperature)
        to_b, to_a = _largest(score)
    index = np.arange(len(score))
    mutual = to_a[to_b] == index
    value = score[index, to_b]
    if matcher == "ratio":
        mutual &= _distinct(score, ratio) & _distinct(score.T, ratio)[to_b]
    elif matcher == "dual_softmax":
        mutual &= value >= least
    kept = np.flatnonzero(mutual)
    kept = kept[np.argsort(-value[kept], kind="stable")]
    return DescriptorMatches(np.stack([kept, to_b[kept]], axis=1), value[kept].astype(np.float32))


def _check_matcher(matcher: str) -> None:
    if matcher not in MATCHERS:
        raise ValueError(f"matcher: found '{matcher}', expected one of {', '.join(MATCHERS)}")


def _dual_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    columns = np.exp(logits - logits.max(axis=0, keepdims=True))
    return (rows / rows.sum(axis=1, keepdims=True)) * (columns / columns.sum(axis=0, keepdims=True))


def _distinct(similarity: NDArray[np.float32], ratio: float) -> NDArray[np.bool_]:
    """Which rows have a nearest neighbour nearer than `ratio` times the second; with one column, all."""
    if similarity.shape[1] < 2:
        return np.ones(len(similarity), bool)
    nearest = -np.partition(-similarity, 1, axis=1)[:, :2]  # two largest, in order
    distance = np.sqrt(np.maximum(2 - 2 * nearest, 0))  # of unit vectors
    return distance[:, 0] < ratio * distance[:, 1]


def estimate_homography(
    points_a: NDArray[np.floating],
    points_b: NDArray[np.floating],
    estimator: str = "ransac",
    *,
    threshold: float = 3.0,
    iterations: int = 5000,
    confidence: float = 0.9999,
) -> Estimate:
    """The homography that maps matched points [K, 2] (x, y) of image a to those of image b.

    "ransac" is OpenCV's RANSAC with refinement over the inliers (Fischler and Bolles 1981), "magsac" its USAC_MAGSAC
    (Barath et al. 2020), "gcransac" its USAC_ACCURATE, which improves the best samples so far by graph cuts over the
    neighbouring matches (GC-RANSAC, Barath and Matas 2018). For an image and its mirror image take "ransac": the
    others refuse samples that change the orientation, and find nothing or a wrong one.
    `threshold` is in pixels of image b. OpenCV draws from a generator of its own, which always starts alike: equal
    input gives equal output, the same matches in another order may not.

    Fewer than four matches, or matches that allow no homography, give None and no inliers; that is a result, not an
    error. Raises ValueError for another estimator or unequal numbers of points.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator: found '{estimator}', expected one of {', '.join(ESTIMATORS)}")
    first, second = (np.asarray(points, np.float64).reshape(-1, 2) for points in (points_a, points_b))
    if len(first) != len(second):
        raise ValueError(f"points: found {len(first)} and {len(second)}, expected matched points, as many in each")
    none = Estimate(None, np.zeros(len(first), bool))
    if len(first) < MIN_MATCHES:
        return none
    method = OPENCV[estimator]
    found, inliers = cv2.findHomography(first, second, method, threshold, maxIters=iterations, confidence=confidence)
    if found is None or not np.isfinite(found).all() or abs(np.linalg.det(found)) < 1e-12:
        return none
    return Estimate(np.asarray(found, np.float64), inliers.reshape(-1).astype(bool))
