"""Matches of two images by their descriptors, and the homography between the images."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from superpoint.errors import UserError, check_number, check_one_of
from superpoint.features import Features, finite
from superpoint.geometry.homography import Matrix

MATCHERS = ("mutual", "ratio", "dual_softmax")
OPENCV = {"ransac": cv2.RANSAC, "magsac": cv2.USAC_MAGSAC, "gcransac": cv2.USAC_ACCURATE}
ESTIMATORS = tuple(OPENCV)
# px. MAGSAC's counts as a scale of the noise, and is taken smaller.
THRESHOLDS = {"gcransac": 2.0, "ransac": 3.0, "magsac": 1.0}
# GC-RANSAC's samples cost a twentieth of RANSAC's. With so many it finds 500 matches of which 12 % are right as often.
ITERATIONS = {"gcransac": 50_000, "ransac": 5000, "magsac": 5000}
MIN_MATCHES = 4  # a homography has eight degrees of freedom
# log10 of the number of false alarms (`verdict`) below which two images show the same thing. Chosen on 240 photographs;
# on 240 others, with superpoint-lite: unrelated pairs 0 % "match", related ones 100 %, strongly changed ones 97.5 %
# (docs/evaluation.md, benchmarks/verdicts.py). Unrelated pairs came as low as -2.9.
MATCH = -4.0


@dataclass(frozen=True, eq=False, init=False)
class Matches:
    """Pairs of keypoints of two images, best first.

    Attributes:
        indices: int64 [M, 2], into the keypoints of the first and second image; each index at most once.
        scores: float32 [M], descending: cosine similarity (mutual, ratio) or probability (dual_softmax).

    Raises: ValueError for arrays of other shapes or types.
    """

    indices: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __init__(self, indices: ArrayLike, scores: ArrayLike) -> None:
        pairs = np.asarray(indices)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or not (pairs.size == 0 or pairs.dtype.kind in "iu"):
            raise ValueError(
                f"indices: found shape {list(pairs.shape)} of {pairs.dtype}, expected whole numbers [M, 2]"
            )
        strengths = finite("scores", scores)
        if strengths.shape != (len(pairs),):
            raise ValueError(f"scores: found shape {list(strengths.shape)}, expected [{len(pairs)}], one per match")
        object.__setattr__(self, "indices", pairs.astype(np.int64, copy=False))
        object.__setattr__(self, "scores", strengths)

    def __len__(self) -> int:
        return len(self.indices)


class Homography(NamedTuple):
    """`matrix` [3, 3] maps points of the first image to the second, None if none was found; `inliers`: bool [M]."""

    matrix: Matrix | None
    inliers: NDArray[np.bool_]


class Comparison(NamedTuple):
    """Comparison of N descriptors of image a with M of image b.

    similarity: float32 [N, M], cosines. to_b [N], to_a [M]: int64, the most similar keypoint of the other image, the
    first of equals; empty if either image has no keypoints.
    """

    similarity: NDArray[np.float32]
    to_b: NDArray[np.int64]
    to_a: NDArray[np.int64]


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
        method: "mutual" keeps mutual nearest neighbours. "ratio" also requires that the distance to the nearest is
            below `ratio` times the distance to the second nearest, in both directions (Lowe 2004, section 7.1).
            "dual_softmax" scores by the product of the softmax over both images of similarity / `temperature` (Rocco
            et al. 2018).
        min_score: lowest cosine similarity, or probability with "dual_softmax".

    Raises:
        UserError: features without descriptors, an unknown method, a value out of range.
        ValueError: descriptors of different lengths.

    >>> import numpy as np
    >>> keypoints, scores = np.array([[10.0, 20.0], [30.0, 40.0]]), np.array([0.9, 0.8])
    >>> first = Features(keypoints, scores, np.eye(2), (64, 64))
    >>> second = Features(keypoints[::-1], scores, np.eye(2)[::-1], (64, 64))
    >>> match(first, second).indices.tolist()
    [[0, 1], [1, 0]]
    """
    check_one_of("method", method, MATCHERS)
    check_number("ratio", ratio, 0, 1, above=True)
    check_number("temperature", temperature, 0, above=True)
    check_number("min_score", min_score, -1, 1)
    first, second = (_descriptors(name, each) for name, each in (("features0", features0), ("features1", features1)))
    compared = compare_descriptors(first, second)
    return match_compared(compared, method, ratio=ratio, temperature=temperature, min_score=min_score)


def _descriptors(name: str, features: object) -> NDArray[np.float32]:
    if not isinstance(features, Features):
        raise ValueError(f"{name}: found {type(features).__name__}, expected the Features of one image")
    if features.descriptors is None:
        raise UserError(
            f"{name}: found no descriptors, expected a network with a descriptor head; "
            "detectors such as magicpoint have none"
        )
    return features.descriptors


def _unit(descriptors: NDArray[np.generic]) -> NDArray[np.float32]:
    """Scale descriptors [N, D] to unit length, so that the largest dot product is the smallest distance."""
    values = descriptors.astype(np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def compare_descriptors(descriptors_a: NDArray[np.generic], descriptors_b: NDArray[np.generic]) -> Comparison:
    """Compare descriptors [N, D] of image a with [M, D] of image b. Raises: ValueError for different lengths."""
    first, second = _unit(descriptors_a), _unit(descriptors_b)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"descriptors: found lengths {first.shape[1]} and {second.shape[1]}, expected equal ones")
    similarity = first @ second.T
    none = np.zeros(0, np.int64)
    return Comparison(similarity, *(_largest(similarity) if similarity.size else (none, none)))


def match_compared(
    compared: Comparison,
    method: str = "mutual",
    *,
    ratio: float = 0.8,
    temperature: float = 0.05,
    min_score: float = -1.0,
) -> Matches:
    """Match two images whose descriptors were compared; see `match` for the arguments."""
    check_one_of("method", method, MATCHERS)
    score, to_b, to_a = compared
    if not score.size:
        return Matches(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
    if method == "dual_softmax":
        score = _dual_softmax(score / temperature)
        to_b, to_a = _largest(score)
    index = np.arange(len(score))
    value = score[index, to_b]
    good = (to_a[to_b] == index) & (value >= min_score)
    if method == "ratio":
        good &= _distinct(score, ratio) & _distinct(score.T, ratio)[to_b]
    kept = np.flatnonzero(good)
    kept = kept[np.argsort(-value[kept], kind="stable")]
    return Matches(np.stack([kept, to_b[kept]], axis=1), value[kept])


def _largest(values: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the largest value of each row and of each column."""
    return values.argmax(axis=1), values.argmax(axis=0)


def _dual_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    columns = np.exp(logits - logits.max(axis=0, keepdims=True))
    return (rows / rows.sum(axis=1, keepdims=True)) * (columns / columns.sum(axis=0, keepdims=True))


def _distinct(similarity: NDArray[np.float32], ratio: float) -> NDArray[np.bool_]:
    """Tell which rows have a nearest neighbour nearer than `ratio` times the second; with one column, all."""
    if similarity.shape[1] < 2:
        return np.ones(len(similarity), bool)
    nearest = -np.partition(-similarity, 1, axis=1)[:, :2]  # two largest, in order
    distance = np.sqrt(np.maximum(2 - 2 * nearest, 0))  # of unit vectors
    return distance[:, 0] < ratio * distance[:, 1]


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


def matched_keypoints(
    features0: Features, features1: Features, matches: Matches
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the matched keypoints of both images, float32 [M, 2]. Raises: ValueError for indices beyond them."""
    for column, features in enumerate((features0, features1)):
        indices = matches.indices[:, column]
        if indices.size and not 0 <= indices.min() <= indices.max() < len(features):
            raise ValueError(
                f"matches: found indices {indices.min()}..{indices.max()} into features{column}, "
                f"expected 0..{len(features) - 1}, for it has {len(features)} keypoints"
            )
    return features0.keypoints[matches.indices[:, 0]], features1.keypoints[matches.indices[:, 1]]


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
    check_one_of("method", method, ESTIMATORS)
    check_number("threshold", threshold, 0, above=True)
    check_number("iterations", iterations, 1, 2**31 - 1, whole=True)
    check_number("confidence", confidence, 0, 1)
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


def verdict(
    features1: Features, homography: Homography, method: str = "gcransac", *, threshold: float | None = None
) -> str:
    """Tell whether two images show the same thing, by how many of their matches agree with the homography.

    Of M matches, k agree. Were all matches random, how many homographies through four of them would find as many?

        NFA = (M - 4) C(M, k) C(k, 4) p^(k - 4),  p = pi threshold^2 / (width height)

    (number of false alarms; Moulon, Monasse and Marlet 2012, "Adaptive structure from motion with a contrario model
    estimation"). On a scene far from a plane, seen from two places, few matches may agree.

    Args:
        features1: of the second image, with its size; the threshold counts in its pixels.
        homography: of `estimate_homography`.
        method, threshold: as given to `estimate_homography`.

    Returns: "match" if log10(NFA) < MATCH, else "no match".
    Raises: UserError as `fit_homography`; ValueError for features without the size of their image.
    """
    check_one_of("method", method, ESTIMATORS)
    check_number("threshold", threshold, 0, above=True)
    width, height = features1.image_size
    if not width:
        raise ValueError("features1: found no image_size, expected (width, height)")
    matches, agreeing = len(homography.inliers), int(homography.inliers.sum())
    if homography.matrix is None or agreeing <= MIN_MATCHES:
        return "no match"
    radius = THRESHOLDS[method] if threshold is None else threshold
    chance = min(1.0, math.pi * radius**2 / (width * height))
    alarms = math.log(matches - MIN_MATCHES) + _log_choose(matches, agreeing) + _log_choose(agreeing, MIN_MATCHES)
    alarms += (agreeing - MIN_MATCHES) * math.log(chance)
    return "match" if alarms < MATCH * math.log(10) else "no match"


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
