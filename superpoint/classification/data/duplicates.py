"""Images that two sets have in common, whatever their size and compression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.classification.data.images import ClassImages, in_channels
from superpoint.errors import UserError

SIDE = 12  # pixels of the thumbnails that are compared
# Correlation of two thumbnails. Two public sets of pets, 597 against 1399 images: 25 pairs above .995 (copies), none
# between .97 and that.
ALIKE = 0.98


def look_alikes(images: ClassImages, others: ClassImages) -> NDArray[np.int64]:
    """Numbers of the `images` that are copies of one of the `others`. Line drawings may look alike without being so."""
    if not len(images) or not len(others):
        return np.empty(0, np.int64)
    ours, known = thumbnails(images), thumbnails(others)
    closest = [(ours[start : start + 256] @ known.T).max(axis=1) for start in range(0, len(ours), 256)]
    return np.flatnonzero(np.concatenate(closest) > ALIKE)


def thumbnails(images: ClassImages) -> NDArray[np.float32]:
    """Grey thumbnails without mean and of norm 1, float32 [N, SIDE^2]; of images without contrast or content zeros."""
    found = np.zeros((len(images), SIDE * SIDE), np.float32)
    for number in range(len(images)):
        try:
            grey = in_channels(images.read(number), 1)[:, :, 0]
        except UserError:
            continue
        small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
        small -= small.mean()
        norm = float(np.linalg.norm(small))
        found[number] = small / norm if norm > SIDE else 0.0
    return found
