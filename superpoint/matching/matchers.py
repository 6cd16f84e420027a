"""Matchers: the keypoints of two images that belong together by their descriptors."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from superpoint.config.inference import MATCHERS, check_matcher
from superpoint.errors import UserError, check_number, check_one_of
from superpoint.features import Features
from superpoint.matching.matches import Matches


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
            et al. 2018). "lightglue:RUN" is a matcher that `superpoint train-matcher` has trained, see `load_matcher`.
        min_score: lowest cosine similarity, or probability with "dual_softmax" and "lightglue:RUN".

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
    check_matcher("method", method)
    check_number("ratio", ratio, 0, 1, above=True)
    check_number("temperature", temperature, 0, above=True)
    check_number("min_score", min_score, -1, 1)
    if method not in MATCHERS:
        from superpoint.matching.lightglue import MIN_PROBABILITY, load_matcher  # kornia: slow to import

        floor = max(min_score, MIN_PROBABILITY)
        return load_matcher(method.partition(":")[2], min_score=floor)(features0, features1)
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
        good[good] = _distinct(score, index[good], to_b[good], ratio)
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


def _distinct(
    similarity: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64], ratio: float
) -> NDArray[np.bool_]:
    """Tell which mutual neighbours are nearer than `ratio` times the second nearest of either."""
    others = similarity.copy()
    others[rows, columns] = -np.inf  # the largest of its row and of its column: what is left has the second at its head
    second = np.maximum(others.max(axis=1)[rows], others.max(axis=0)[columns])
    first, second = (np.sqrt(np.maximum(2 - 2 * each, 0)) for each in (similarity[rows, columns], second))
    return first < ratio * second  # distances of unit vectors; with no second neighbour it is infinitely far
