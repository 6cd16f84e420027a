"""A set of images with one class each, whatever it was read from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from superpoint.data.images import resize_with_points
from superpoint.errors import UserError

NO_POINTS = np.empty((0, 2), np.float32)


@dataclass(frozen=True)
class ClassImages:
    """Attributes:
    names: what each image is called in tables; unique.
    labels: int64 [N], indices into `classes`.
    classes: names of the classes, in natural order (1, 2, 10) unless the data says otherwise.
    read: number of an image -> uint8 [H, W, 3] RGB or [H, W]; raises UserError if it cannot be decoded.
    skipped: (name, reason) of the images that were left out since they cannot be used.
    """

    names: Sequence[str]
    labels: NDArray[np.int64]
    classes: Sequence[str]
    read: Callable[[int], NDArray[np.uint8]]
    skipped: Sequence[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, chosen: Sequence[int] | NDArray[np.integer]) -> ClassImages:
        numbers = [int(number) for number in chosen]
        read = self.read
        return replace(
            self,
            names=[self.names[number] for number in numbers],
            labels=self.labels[numbers],
            read=lambda number: read(numbers[number]),
        )

    def counts(self) -> NDArray[np.int64]:
        """Images of each class, int64 [K]."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def loaded(self, shortest: int) -> ClassImages:
        """The same images in memory, read once, with a shorter side of at most `shortest` pixels.

        An image that cannot be used (damaged, or of less than 2 pixels a side) is left out and named in `skipped`.
        """
        kept: list[NDArray[np.uint8]] = []
        numbers, skipped = [], list(self.skipped)
        for number, name in enumerate(self.names):
            try:
                kept.append(shrink(self.read(number), shortest))
                numbers.append(number)
            except UserError as error:
                skipped.append((name, str(error)))
        return replace(self.subset(numbers), read=lambda number: kept[number], skipped=skipped)


def shrink(image: NDArray[np.uint8], shortest: int) -> NDArray[np.uint8]:
    """An image whose shorter side has at most `shortest` pixels. Raises: UserError, less than 2 pixels a side."""
    height, width = image.shape[:2]
    if min(height, width) < 2:
        raise UserError(f"found {width} x {height} pixels, expected at least 2 x 2")
    scale = shortest / min(height, width)
    if scale >= 1:
        return image
    size = max(shortest, round(height * scale)), max(shortest, round(width * scale))
    return resize_with_points(image, NO_POINTS, size)[0]


def in_channels(image: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """uint8 [H, W, C] with C = 3 or 1; grey levels are the luma of ITU-R BT.601."""
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    luma = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.rint(luma).astype(np.uint8)[:, :, None]
