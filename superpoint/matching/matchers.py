"""Matchers: the keypoints of two images that belong together by their descriptors."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from superpoint.config.inference import MATCHERS, check_matcher
from superpoint.errors import UserError, check_number, check_one_of
from superpoint.features import Features
from superpoint.matching.matches import Matches

NEIGHBOURHOOD = 1 / 64  # of the longer side: 10 px of an image of 640
UNKNOWN_SIZE = 640  # px, of Features without an image size


class Comparison(NamedTuple):
    """Comparison of the N keypoints of image a with the M keypoints of image b.

    similarity: float32 [N, M], cosines of the descriptors. to_b [N], to_a [M]: int64, the most similar keypoint of the
    other image, the first of equals; empty if either image has no keypoints.
    """

    a: Features
    b: Features
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
            below `ratio` times the distance to the second nearest, in both directions (Lowe 2004, section 7.1). The
            second nearest is looked for beyond NEIGHBOURHOOD of the nearest (Mishkin et al. 2015, MODS):
            keypoints side by side have nearly the same descriptor. "dual_softmax" scores by the product of the
            softmax over both images of similarity / `temperature` (Rocco et al. 2018). "lightglue:RUN" is a matcher
            that `superpoint train-matcher` has trained, "lightglue" the pretrained one for the network of the
            features, see `load_matcher`.
        min_score: lowest cosine similarity, or probability with "dual_softmax" and "lightglue".

    Raises:
        UserError: features without descriptors, an unknown method, a value out of range; of "lightglue" also features
            of another network than the matcher's, or that no pretrained matcher is for.
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
        from superpoint.matching.lightglue import MIN_PROBABILITY, find_matcher, load_matcher  # kornia: slow to import

        source, floor = find_matcher(method, features0.network), max(min_score, MIN_PROBABILITY)
        return load_matcher(source, min_score=floor)(features0, features1)
    for name, each in (("features0", features0), ("features1", features1)):
        _check_descriptors(name, each)
    compared = compare_descriptors(features0, features1)
    return match_compared(compared, method, ratio=ratio, temperature=temperature, min_score=min_score)


def check_matches(method: str, network: str) -> None:
    """Raise UserError for an unknown method, "lightglue" without weights for this network, or RUN for another one."""
    check_matcher("--matcher", method)
    if method not in MATCHERS:
        from superpoint.matching.lightglue import find_matcher  # kornia: slow to import

        find_matcher(method, network)


def _check_descriptors(name: str, features: object) -> None:
    if not isinstance(features, Features):
        raise ValueError(f"{name}: found {type(features).__name__}, expected the Features of one image")
    if features.descriptors is None:
        raise UserError(
            f"{name}: found no descriptors, expected a network with a descriptor head; "
            "detectors such as magicpoint have none"
        )


def unit_length(vectors: ArrayLike) -> NDArray[np.float32]:
    """Return vectors [..., D] at unit length, so that the largest dot product is the smallest distance; 0 stays 0."""
    values = np.asarray(vectors, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)


def compare_descriptors(a: Features, b: Features) -> Comparison:
    """Compare the descriptors of two images, which both have some. Raises: ValueError for different lengths."""
    first, second = (unit_length(np.asarray(each.descriptors)) for each in (a, b))
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"descriptors: found lengths {first.shape[1]} and {second.shape[1]}, expected equal ones")
    similarity = first @ second.T
    none = np.zeros(0, np.int64)
    return Comparison(a, b, similarity, *(_largest(similarity) if similarity.size else (none, none)))


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
    a, b, score, to_b, to_a = compared
    if not score.size:
        return Matches(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
    if method == "dual_softmax":
        score = _dual_softmax(score / temperature)
        to_b, to_a = _largest(score)
    index = np.arange(len(score))
    value = score[index, to_b]
    good = (to_a[to_b] == index) & (value >= min_score)
    if method == "ratio":
        rows, columns = index[good], to_b[good]
        second = np.maximum(_second(score, rows, columns, b), _second(score.T, columns, rows, a))
        near, far = (np.sqrt(np.maximum(2 - 2 * each, 0)) for each in (value[good], second))
        good[good] = near < ratio * far  # distances of unit vectors; with no second neighbour it is infinitely far
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


def _second(
    similarity: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64], other: Features
) -> NDArray[np.float32]:
    """Return the largest similarity of each row to keypoints of `other` that do not lie around its column."""
    radius = NEIGHBOURHOOD * (max(other.image_size) or UNKNOWN_SIZE)
    rivals = similarity[rows]
    order = np.argsort(other.keypoints[:, 0])
    across, centres = other.keypoints[order, 0], other.keypoints[columns]
    # Only keypoints in a strip as wide as the neighbourhood can lie in it.
    first = np.searchsorted(across, centres[:, 0] - radius)
    last = np.searchsorted(across, centres[:, 0] + radius, side="right")
    counts = last - first
    row = np.repeat(np.arange(len(rows)), counts)
    column = order[np.arange(len(row)) - np.repeat(np.cumsum(counts) - last, counts)]
    inside = ((other.keypoints[column] - centres[row]) ** 2).sum(axis=1) <= radius**2
    rivals[row[inside], column[inside]] = -np.inf
    return rivals.max(axis=1, initial=-np.inf)
