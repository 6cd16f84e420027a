"""The two frames of a photograph, and THE eight EXIF orientations.

"stored": the pixels as they lie in the file, which COLMAP and hloc work on. "upright": as a viewer shows it, turned by
its EXIF orientation. The turns below are from stored to upright; `turned_back` gives the way back.
"""

from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Frame = Literal["stored", "upright"]
T = TypeVar("T", bound=np.generic)
# Orientation -> whether x and y are exchanged, and whether x and then y are mirrored. Source: EXIF 2.32, tag 0x0112.
TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def turned_back(orientation: int) -> int:
    """Return the orientation that undoes another."""
    return {6: 8, 8: 6}.get(orientation, orientation)


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the (width, height) of an image of `size` after its turn."""
    return (size[1], size[0]) if TURNS[orientation][0] else size


def turned_points(points: NDArray[np.floating], size: tuple[int, int], orientation: int) -> NDArray[np.float32]:
    """Return points [N, 2] (x, y) of an image of `size` (width, height) where they lie after its turn."""
    exchange, *mirror = TURNS[orientation]
    xy = np.asarray(points, np.float64)[:, :: -1 if exchange else 1]
    last = np.array(turned_size(size, orientation)) - 1
    return np.where(mirror, last - xy, xy).astype(np.float32)


def turned_image(image: NDArray[T], orientation: int) -> NDArray[T]:
    """Return an image [H, W] or [H, W, C] after its turn."""
    exchange, mirror_x, mirror_y = TURNS[orientation]
    turned = image.swapaxes(0, 1) if exchange else image
    return np.ascontiguousarray(turned[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1])
