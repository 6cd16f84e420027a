"""Pairs of keypoints of two images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from superpoint.features import Features, finite


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
