"""Move labels to the corners of the image, and add corners that the labels lack.

A MagicPoint has learnt from drawings: of its 300 strongest points, 28 % repeat within 1 px on photographs, 46 % after
they have moved to the nearest corner. The maxima lie inside a corner, some 1.2 px from its tip.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.data.masks import Mask, inner, on_mask

FINE, COARSE = (0.8, 1.1), (1.6, 2.0)  # pixels: blur of the image, and of the products of its gradients
NOISE = 1.0  # (grey levels / px)**2: corners of less strength are made of noise and JPEG blocks
ADDED = 2.0  # times NOISE, that a corner must have to become a label
RADIUS = 5  # pixels between corners that become labels (Chebyshev)
BORDER = 4  # pixels along the outline, where no corners are added
APART = 4  # pixels: of two labels nearer than that (Chebyshev) the weaker is dropped
REACH = 3  # pixels that a label moves at most, in images with a longest side of SIDE
SIDE = 320
NEIGHBOURS = np.array([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)])
HERE = 4  # the row of NEIGHBOURS that is (0, 0)

Points = NDArray[np.float32]


def corner_strength(image: NDArray[np.uint8], blur: float, window: float) -> NDArray[np.float32]:
    """Return the smaller eigenvalue of the structure tensor (Shi and Tomasi 1994), float32 [H, W], (levels / px)**2.

    Of several channels the largest counts at every pixel.

    `blur`, `window`: standard deviations in pixels of the Gaussians before and after the gradients.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), blur)
    dx, dy = (cv2.Scharr(smooth, cv2.CV_32F, *order) / 32 for order in ((1, 0), (0, 1)))  # grey levels a pixel
    xx, xy, yy = (cv2.GaussianBlur(product, (0, 0), window) for product in (dx * dx, dx * dy, dy * dy))
    strength = np.asarray((xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy * xy), np.float32)
    return strength if strength.ndim == 2 else strength.max(axis=2)


def climb(strength: NDArray[np.float32], points: Points, steps: int) -> Points:
    """Move points [N, 2] uphill to the maxima of `strength` [H, W], to sub-pixels by a parabola.

    A point that finds none within `steps` pixels stays where it was.
    """
    height, width = strength.shape
    padded = np.pad(strength, 1, constant_values=-1.0)
    at = np.clip(np.rint(points).astype(np.int64), 0, [width - 1, height - 1])

    def around() -> NDArray[np.float64]:
        rows, columns = at[:, 1, None] + 1 + NEIGHBOURS[:, 1], at[:, 0, None] + 1 + NEIGHBOURS[:, 0]
        return padded[rows, columns].astype(np.float64)

    for _ in range(steps):
        values = around()
        highest = values.argmax(axis=1)
        highest[values[:, HERE] >= values.max(axis=1)] = HERE
        at = at + NEIGHBOURS[highest]
    values = around()
    on_top = (values[:, HERE] >= values.max(axis=1)) & (values[:, HERE] > 0)
    on_top &= ((at > 0) & (at < [width - 1, height - 1])).all(axis=1)
    v = values.reshape(-1, 3, 3)  # [N, row, column]
    dx, dy = (v[:, 1, 2] - v[:, 1, 0]) / 2, (v[:, 2, 1] - v[:, 0, 1]) / 2
    dxx, dyy = v[:, 1, 2] - 2 * v[:, 1, 1] + v[:, 1, 0], v[:, 2, 1] - 2 * v[:, 1, 1] + v[:, 0, 1]
    dxy = (v[:, 2, 2] - v[:, 2, 0] - v[:, 0, 2] + v[:, 0, 0]) / 4
    determinant = dxx * dyy - dxy * dxy
    peaked = determinant > 1e-14
    below = np.where(peaked, determinant, 1.0)
    offset = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=1) / below[:, None]
    top = at + np.where(peaked[:, None], np.clip(offset, -0.6, 0.6), 0.0)
    return np.where(on_top[:, None], top, points).astype(np.float32)


def sharpen(
    image: NDArray[np.uint8],
    points: Points,
    scores: NDArray[np.float32],
    *,
    added: float = 0.0,
    mask: Mask | None = None,
) -> tuple[Points, NDArray[np.float32]]:
    """Move labels [N, 2] with scores [N], strongest first, to the corners next to them in an image uint8.

    Out of focus, corners of a blurred copy serve. Up to `added` other corners per 100 x 100 pixels become labels with
    the lowest score. Of two labels nearer than APART the stronger stays. None stays on what `mask` ignores.
    """
    height, width = image.shape[:2]
    fine, coarse = corner_strength(image, *FINE), corner_strength(image, *COARSE)
    steps = max(REACH, round(REACH * max(height, width) / SIDE))
    moved = climb(fine, points, steps)
    blurred = _values(fine, moved) < NOISE
    moved[blurred] = climb(coarse, points[blurred], steps)
    if added:
        highest = coarse == cv2.dilate(coarse, np.ones((2 * RADIUS + 1, 2 * RADIUS + 1), np.uint8))
        highest[:BORDER] = highest[-BORDER:] = False
        highest[:, :BORDER] = highest[:, -BORDER:] = False
        tops = highest.nonzero()
        found = climb(fine, np.stack(tops[::-1], axis=1).astype(np.float32), 2)
        strength = np.sqrt(np.maximum(_values(fine, found) * coarse[tops], 0))
        order = np.argsort(-strength, kind="stable")[: int(added * height * width / 1e4)]
        order = order[strength[order] > ADDED * NOISE]
        lowest = scores.min() if len(scores) else np.float32(0)
        moved = np.concatenate([moved, found[order]])
        scores = np.concatenate([scores, np.full(len(order), lowest, np.float32)])
    if mask is not None:
        kept = on_mask(moved, inner(mask))
        moved, scores = moved[kept], scores[kept]
    kept = _apart(moved, height, width)
    return moved[kept], scores[kept]


def _values(strength: NDArray[np.float32], points: Points) -> NDArray[np.float32]:
    height, width = strength.shape
    x, y = np.clip(np.rint(points).astype(np.int64), 0, [width - 1, height - 1]).T
    return strength[y, x]


def _apart(points: Points, height: int, width: int) -> NDArray[np.int64]:
    """Rows of those that keep the distance APART from all before them."""
    taken: NDArray[Any] = np.zeros((height, width), bool)
    kept = []
    for row, (x, y) in enumerate(np.clip(np.rint(points).astype(int), 0, [width - 1, height - 1])):
        if not taken[y, x]:
            taken[max(y - APART + 1, 0) : y + APART, max(x - APART + 1, 0) : x + APART] = True
            kept.append(row)
    return np.array(kept, np.int64)
