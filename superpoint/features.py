"""What a model finds in an image, and which of it belongs together in two images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False, init=False)
class Features:
    """Keypoints of one image, strongest first.

    Attributes:
        keypoints: float32 [N, 2], (x, y) in pixels of the original image, pixel centres at integers.
        scores: float32 [N], probability of the peak, 0..1.
        descriptors: float32 [N, D] of unit length, or None if the network has no descriptor head. Feature files hold
            the transpose, [D, N].
        image_size: (width, height) of the original image.

    Raises: ValueError for arrays of other shapes, or values that are not finite.

    >>> import numpy as np
    >>> features = Features(np.array([[3.5, 4.0]]), np.array([0.9]), None, (640, 480))
    >>> len(features), features.keypoints.dtype
    (1, dtype('float32'))
    """

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    descriptors: NDArray[np.float32] | None
    image_size: tuple[int, int]

    def __init__(
        self,
        keypoints: ArrayLike,
        scores: ArrayLike,
        descriptors: ArrayLike | None,
        image_size: tuple[int, int],
    ) -> None:
        points = _finite("keypoints", keypoints)
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"keypoints: found shape {list(points.shape)}, expected [N, 2]")
        strengths = _finite("scores", scores)
        if strengths.shape != (len(points),):
            raise ValueError(f"scores: found shape {list(strengths.shape)}, expected [{len(points)}], one a keypoint")
        described = None
        if descriptors is not None:
            described = _finite("descriptors", descriptors)
            if described.ndim != 2 or len(described) != len(points) or not described.shape[1]:
                raise ValueError(
                    f"descriptors: found shape {list(described.shape)}, expected [{len(points)}, D], a row a keypoint"
                )
        if len(image_size) != 2 or min(image_size) < 1:
            raise ValueError(f"image_size: found {tuple(image_size)}, expected (width, height)")
        width, height = (int(side) for side in image_size)
        for name, value in (("keypoints", points), ("scores", strengths), ("descriptors", described)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "image_size", (width, height))

    def __len__(self) -> int:
        return len(self.keypoints)


@dataclass(frozen=True, eq=False, init=False)
class Matches:
    """Pairs of keypoints of two images, best first.

    Attributes:
        indices: int64 [M, 2], into the keypoints of the first and of the second image; each index at most once.
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
        strengths = _finite("scores", scores)
        if strengths.shape != (len(pairs),):
            raise ValueError(f"scores: found shape {list(strengths.shape)}, expected [{len(pairs)}], one a match")
        object.__setattr__(self, "indices", pairs.astype(np.int64, copy=False))
        object.__setattr__(self, "scores", strengths)

    def __len__(self) -> int:
        return len(self.indices)


def _finite(name: str, values: object) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is reported below
            array = np.asarray(values).astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: found {type(values).__name__}, expected an array of numbers ({error})") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: found values that are not finite (NaN or infinity)")
    return array
