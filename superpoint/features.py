"""What an extractor finds in an image."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from superpoint.geometry.orientation import Frame, turned_back, turned_points, turned_size

UNCERTAINTY = 1.0  # standard deviation of a keypoint, in pixels of the image in which it was found


@dataclass(frozen=True, eq=False, init=False)
class Features:
    """Keypoints of one image, strongest first.

    Attributes:
        keypoints: float32 [N, 2], (x, y) in pixels of the original image in `frame`, pixel centres at integers.
        scores: float32 [N], probability of the peak, 0..1; ones if none are given.
        descriptors: float32 [N, D] of unit length, or None. Feature files hold the transpose, [D, N].
        image_size: (width, height) of the original image in `frame`; (0, 0) if unknown.
        uncertainty: standard deviation of the keypoints in pixels, None if unknown.
        views: number of views of homographic adaptation, None without it.
        orientation: EXIF orientation of the image file, 1..8; 0 if it had one that is not known.
        frame: "upright", turned by `orientation`, or "stored", as the pixels lie in the file; see `in_frame`.
        warp: of a generated view, float64 [3, 3], which maps pixels of the photograph to its own; else None.
        network: hash (`models.weights.model_hash`) of the network that they are of; "" if unknown.

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
    uncertainty: float | None
    views: int | None
    orientation: int
    frame: Frame
    warp: NDArray[np.float64] | None
    network: str

    def __init__(
        self,
        keypoints: ArrayLike,
        scores: ArrayLike | None = None,
        descriptors: ArrayLike | None = None,
        image_size: tuple[int, int] = (0, 0),
        uncertainty: float | None = None,
        views: int | None = None,
        orientation: int = 1,
        frame: Frame = "upright",
        warp: ArrayLike | None = None,
        network: str = "",
    ) -> None:
        xy = finite("keypoints", keypoints)
        if xy.ndim != 2 or xy.shape[1] != 2:
            raise ValueError(f"keypoints: found shape {list(xy.shape)}, expected [N, 2]")
        strengths = np.ones(len(xy), np.float32) if scores is None else finite("scores", scores)
        if strengths.shape != (len(xy),):
            raise ValueError(f"scores: found shape {list(strengths.shape)}, expected [{len(xy)}], one per keypoint")
        described = None
        if descriptors is not None:
            described = finite("descriptors", descriptors)
            if described.ndim != 2 or len(described) != len(xy) or not described.shape[1]:
                raise ValueError(
                    f"descriptors: found shape {list(described.shape)}, expected [{len(xy)}, D], one row per keypoint"
                )
        if len(image_size) != 2 or (min(image_size) < 1 and tuple(image_size) != (0, 0)):
            raise ValueError(f"image_size: found {tuple(image_size)}, expected (width, height)")
        if orientation not in range(9) or frame not in get_args(Frame):
            raise ValueError(
                f"found orientation {orientation} and frame '{frame}', expected 0..8, 'stored' or 'upright'"
            )
        size = int(image_size[0]), int(image_size[1])
        matrix = None if warp is None else np.asarray(warp, np.float64).reshape(3, 3)
        values = xy, strengths, described, size, uncertainty, views, orientation, frame, matrix, network
        for field, value in zip(fields(self), values, strict=True):
            object.__setattr__(self, field.name, value)

    def __len__(self) -> int:
        return len(self.keypoints)

    def take(self, kept: NDArray[np.bool_] | NDArray[np.integer] | slice) -> Features:
        """Return the features of some keypoints: bool [N], indices, or a slice."""
        described = None if self.descriptors is None else self.descriptors[kept]
        return replace(self, keypoints=self.keypoints[kept], scores=self.scores[kept], descriptors=described)

    def in_frame(self, frame: Frame) -> Features:
        """Return the features in the frame "stored" or "upright".

        Raises: ValueError if the image is turned, and its size or orientation are not known.
        """
        if frame == self.frame or self.orientation == 1:
            return replace(self, frame=frame)
        if self.orientation == 0 or self.image_size == (0, 0):
            raise ValueError(
                f"features: found the {self.frame} frame of an image whose EXIF orientation or size is not known, "
                f"expected the {frame} one; detect the keypoints anew"
            )
        turn = self.orientation if frame == "upright" else turned_back(self.orientation)
        points = turned_points(self.keypoints, self.image_size, turn)
        return replace(self, keypoints=points, image_size=turned_size(self.image_size, turn), frame=frame)


def finite(name: str, values: object) -> NDArray[np.float32]:
    """Return `values` as float32. Raises: ValueError, naming `name`, for anything else than finite numbers."""
    try:
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is reported below
            array = np.asarray(values).astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: found {type(values).__name__}, expected an array of numbers ({error})") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: found values that are not finite (NaN or infinity)")
    return array
