"""Training samples from images with labels."""

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from superpoint.config import DataConfig
from superpoint.data.images import resize_with_points
from superpoint.data.masks import Mask, resize_mask
from superpoint.data.samples import KeypointSamples, Scene
from superpoint.errors import UserError
from superpoint.geometry.homography import inside

CROP_STREAM = 7003  # of random numbers, apart from those of the augmentation (7001) and of the encoding (7002)
ORDER_STREAM = 7004


class LabelSource(Protocol):
    """Images as of `read_image`, of any size, each with its points [N, 2] (x, y) and its mask, bool [H, W] or None.

    NaN and points outside are ignored.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[NDArray[np.uint8], NDArray[np.floating], Mask | None]: ...


class LabelledImages(KeypointSamples):
    """The images of a source as samples without end, see `KeypointSamples`; each epoch shows all in a new order.

    An image is resized and cropped by `cover`, at a place drawn from (seed, index).
    Raises: UserError if the source is empty or, with `config.overfit` = n, has fewer than n images with a label.
    """

    def __init__(self, source: LabelSource, config: DataConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.source = source
        if len(source) == 0:
            raise UserError("labelled images: found none, expected at least one")
        self.repeated = self.first_labelled(range(len(source)))
        if len(self.repeated) < config.overfit:
            raise UserError(
                f"data.overfit: found {len(self.repeated)} labelled images of {len(source)}, expected {config.overfit}"
            )

    def number(self, index: int) -> int:
        """Return which image of the source sample `index` shows."""
        if self.repeated:
            return self.repeated[index % len(self.repeated)]
        return epoch_order(self.seed, index, len(self.source))

    def scene(self, index: int) -> Scene:
        image, points, mask = self.source[self.number(index)]
        rng = np.random.Generator(np.random.SFC64([self.seed, index, CROP_STREAM]))
        return cover(image, points, (self.config.height, self.config.width), rng, mask)

    def still(self, number: int) -> Scene:
        image, points, mask = self.source[number]
        return cover(image, points, (self.config.height, self.config.width), mask=mask)


def epoch_order(seed: int, index: int, count: int) -> int:
    """Return which of `count` images sample `index` shows."""
    epoch, position = divmod(index, count)
    return int(_permutation(seed, epoch, count)[position])


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.SFC64([seed, epoch, ORDER_STREAM])).permutation(count)


def cover(
    image: NDArray[np.uint8],
    points: NDArray[np.floating],
    size: tuple[int, int],
    rng: np.random.Generator | None = None,
    mask: Mask | None = None,
) -> Scene:
    """Resize an image, its points [N, 2] and its mask to cover `size` (height, width), proportions kept; crop the rest.

    `rng` draws where the crop lies (None: in the middle). Points outside it are left out.
    """
    height, width = size
    scale = max(height / image.shape[0], width / image.shape[1])
    resized = max(height, round(image.shape[0] * scale)), max(width, round(image.shape[1] * scale))
    image, xy = resize_with_points(image, np.asarray(points).reshape(-1, 2), resized)
    spare = np.array([resized[1] - width, resized[0] - height])
    left, top = (spare // 2 if rng is None else rng.integers(0, spare + 1)).tolist()
    xy = xy - np.array([left, top], np.float32)
    crop = slice(top, top + height), slice(left, left + width)
    mask = None if mask is None else resize_mask(mask, resized)[crop]
    return np.ascontiguousarray(image[crop]), xy[inside(xy, height, width)], mask
