"""FAST, Harris, Shi-Tomasi, SIFT and ORB behind one interface: the calibration rows beside the network.

A detector is a function: image uint8 [H, W] -> Features without descriptors. All get the network's non-maximum
suppression; Harris, Shi-Tomasi and FAST also a sub-pixel refinement, without which they lie 0.7 to 2.2 px inside a
corner.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.errors import check_one_of
from superpoint.features import Features

Detections = tuple[NDArray[np.float32], NDArray[np.float32]]

WINDOW = 3  # side of the window over which the gradient matrix is averaged; odd, or the response is off centre
HARRIS_K = 0.04
FAST_THRESHOLD = 10  # grey levels; 10 in the published comparison
FAST_RING = np.array(  # Bresenham circle of radius 3: (dx, dy)
    [
        *[(0, -3), (1, -3), (2, -2), (3, -1), (3, 0), (3, 1), (2, 2), (1, 3)],
        *[(0, 3), (-1, 3), (-2, 2), (-3, 1), (-3, 0), (-3, -1), (-2, -2), (-1, -3)],
    ]
)
ORB_SCALE = 1.2  # between pyramid levels
REFINE_RADIUS = 3  # half side of the refinement window, pixels
REFINE_LIMIT = 2.5  # a point that moves farther than this (in x or y) has left its corner and stays where it was


def _peaks(response: NDArray[np.floating]) -> Detections:
    """Local maxima (3x3, plateaus included) of a positive response."""
    peak = (response > 0) & (response == cv2.dilate(response, np.ones((3, 3), np.uint8)))
    y, x = np.nonzero(peak)
    return np.stack([x, y], axis=1).astype(np.float32), response[y, x].astype(np.float32)


def _harris(image: NDArray[np.uint8]) -> Detections:
    """Harris and Stephens 1988. Score: fourth root of det M - k tr(M)^2, proportional to contrast."""
    response = cv2.cornerHarris(image, WINDOW, 3, HARRIS_K)
    return _peaks(np.maximum(response, 0) ** 0.25)


def _shi_tomasi(image: NDArray[np.uint8]) -> Detections:
    """Shi and Tomasi 1994. Score: square root of the smaller eigenvalue, proportional to contrast."""
    response = cv2.cornerMinEigenVal(image, WINDOW, ksize=3)
    return _peaks(np.sqrt(np.maximum(response, 0)))


def _keypoints(found: Sequence[cv2.KeyPoint]) -> Detections:
    points = np.asarray(cv2.KeyPoint.convert(found), dtype=np.float32).reshape(-1, 2)
    return points, np.array([key.response for key in found], dtype=np.float32)


def _fast(image: NDArray[np.uint8]) -> Detections:
    """Rosten and Drummond 2006, FAST-9/16. Score: the largest threshold at which the pixel is found, as OpenCV's.

    OpenCV's own suppression, which drops plateaus of equal scores, is off.
    """
    points, _ = _keypoints(cv2.FastFeatureDetector.create(FAST_THRESHOLD, nonmaxSuppression=False).detect(image))
    x, y = points.astype(np.intp).T
    ring = image[y[:, None] + FAST_RING[:, 1], x[:, None] + FAST_RING[:, 0]].astype(np.int16)  # [N, 16]
    step = ring - image[y, x, None]
    # Smallest difference on each arc of 9 pixels, by the minima of arcs of 2, 4 and 8; then the best arc.
    best = np.full(len(points), FAST_THRESHOLD, dtype=np.int16)
    for arc in (step, -step):
        pair = np.minimum(arc, np.roll(arc, -1, axis=1))
        four = np.minimum(pair, np.roll(pair, -2, axis=1))
        nine = np.minimum(np.minimum(four, np.roll(four, -4, axis=1)), np.roll(arc, -8, axis=1))
        best = np.maximum(best, nine.max(axis=1))
    return points, (best - 1).astype(np.float32)


def _sift(image: NDArray[np.uint8]) -> Detections:
    """Lowe 2004. Without the precise upscale OpenCV's points are off by a quarter pixel."""
    return _keypoints(cv2.SIFT.create(enable_precise_upscale=True).detect(image))


def _orb(image: NDArray[np.uint8]) -> Detections:
    """Rublee et al. 2011: FAST on a pyramid, ranked by Harris.

    OpenCV multiplies a level's pixels by its nominal scale, up to 1.1 px off at the coarse levels of a 257x289 image;
    here by its true, rounded one, about pixel centres.
    """
    levels = 1 + int(np.log(max(min(image.shape) / 16, 1)) / np.log(ORB_SCALE))  # OpenCV fails on levels without pixels
    detector = cv2.ORB.create(5000, scaleFactor=ORB_SCALE, nlevels=min(levels, 8), edgeThreshold=3)
    found = detector.detect(image)
    points, scores = _keypoints(found)
    scale = ORB_SCALE ** np.array([key.octave for key in found]).reshape(-1, 1)  # nominal, [N, 1]
    size = np.array([image.shape[1], image.shape[0]])
    true = size / np.rint(size / scale)  # [N, 2]
    return ((points / scale + 0.5) * true - 0.5).astype(np.float32), scores


CLASSICAL: dict[str, Callable[[NDArray[np.uint8]], Detections]] = {
    "fast": _fast,
    "harris": _harris,
    "shi": _shi_tomasi,
    "sift": _sift,
    "orb": _orb,
}
REFINED = frozenset({"fast", "harris", "shi"})  # SIFT interpolates by itself; ORB's points belong to a pyramid level


def classical_detector(
    name: str, *, nms_radius: int = 4, border: int = 0, max_keypoints: int = 0
) -> Callable[[NDArray[np.uint8]], Features]:
    """Return a detector of `CLASSICAL`, a function of an image uint8 [H, W]. Raises: UserError for an unknown name.

    Args:
        nms_radius: see `suppress`.
        border: points nearer to the image edge than this many pixels are dropped.
        max_keypoints: strongest points kept; 0 = all.
    """
    check_one_of("detector", name, list(CLASSICAL))

    def detect(image: NDArray[np.uint8]) -> Features:
        if image.ndim != 2 or image.dtype != np.uint8:
            raise ValueError(f"image: found {image.dtype} {list(image.shape)}, expected uint8 [H, W]")
        image = np.ascontiguousarray(image)
        points, scores = suppress(*CLASSICAL[name](image), nms_radius)
        if name in REFINED:
            points = refine_corners(image, points)
        limit = np.array([image.shape[1] - 1 - border, image.shape[0] - 1 - border])
        inside = ((points >= border) & (points <= limit)).all(axis=1)
        kept = np.flatnonzero(inside)[: max_keypoints or None]
        return Features(points[kept], scores[kept], None, (image.shape[1], image.shape[0]))

    return detect


def suppress(points: NDArray[np.float32], scores: NDArray[np.float32], radius: int) -> Detections:
    """Suppress all but local maxima of sparse points, greedily; the result is sorted by score, descending.

    A point survives if no stronger survivor lies within `radius` of it in x and in y, both rounded to pixels, as in the
    network's suppression. Equal scores: the earlier point wins.

    Args:
        points: [N, 2] (x, y), not negative by more than half a pixel.
        scores: [N].
        radius: pixels; 0 keeps one point per pixel.
    """
    order = np.argsort(-scores, kind="stable")
    points, scores = points[order], scores[order]
    if not len(points):
        return points, scores
    cells = np.maximum(np.rint(points).astype(np.intp), 0) + radius  # shifted, so that windows do not leave the grid
    width, height = cells.max(axis=0) + radius + 1
    taken = np.zeros((height, width), dtype=bool)
    kept = []
    for index, (x, y) in enumerate(cells.tolist()):
        if not taken[y, x]:
            taken[y - radius : y + radius + 1, x - radius : x + radius + 1] = True
            kept.append(index)
    return points[kept], scores[kept]


def refine_corners(image: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Refine corners to sub-pixel places (Förstner and Gülch 1987, as `cv2.cornerSubPix`).

    Points that move farther than `REFINE_LIMIT` keep their place, as do all points of images too small for the window.
    """
    if not len(points) or min(image.shape) < 2 * REFINE_RADIUS + 5:
        return points
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 0.02)
    start = np.ascontiguousarray(points[:, None, :], dtype=np.float32)
    refined = cv2.cornerSubPix(image, start.copy(), (REFINE_RADIUS, REFINE_RADIUS), (-1, -1), criteria)[:, 0]
    moved = np.abs(refined - points).max(axis=1)
    return np.where((moved <= REFINE_LIMIT)[:, None], refined, points).astype(np.float32)
