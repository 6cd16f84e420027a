"""Corner strength of images at their labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.geometry.homography import inside

Points = NDArray[np.float32]
Drawn = tuple[NDArray[np.uint8], Points]  # an image and its points
REACH = 10  # pixels: displacements up to this are looked for
MARGIN = 6  # pixels from the outline within which a corner's window is cut
CLEAR = 0.95  # rank of the corners that are good enough to place to a fraction of a pixel
MAX_STEP = 2.0  # pixels that the refinement may move a point; beyond, it has found another corner

# Other places where the labels might belong; (width, height) of the image.
MISTAKES: dict[str, Callable[[Points, int, int], Points]] = {
    "x and y are swapped": lambda xy, w, h: xy[:, ::-1],
    "x and y were swapped before they were scaled to the image": lambda xy, w, h: xy[:, ::-1] * [w / h, h / w],
    "x is mirrored (counted from the right)": lambda xy, w, h: np.stack([w - 1 - xy[:, 0], xy[:, 1]], axis=1),
    "y is mirrored (counted from below)": lambda xy, w, h: np.stack([xy[:, 0], h - 1 - xy[:, 1]], axis=1),
    "they are in the frame of an image twice as large": lambda xy, w, h: (xy + 0.5) / 2 - 0.5,
    "they are in the frame of an image half as large": lambda xy, w, h: (xy + 0.5) * 2 - 0.5,
    "they are shares of the image's sides, not pixels": lambda xy, w, h: xy * [w, h] - 0.5,
}


@dataclass(frozen=True)
class CornerEvidence:
    """Attributes:
    points: labels inside their images.
    rank: mean share 0..1 of the image's pixels that are less of a corner than the label; 1 = the strongest.
    chance: the same for the labels of another image.
    mistake: the entry of MISTAKES under which the labels fit best, and the rank then.
    shift: displacement (x, y) in whole pixels with the largest rank, and that rank.
    clear: labels at clear corners.
    offset, error: median of (label - corner) over these, and its standard error, (x, y) in pixels.
    """

    points: int
    rank: float
    chance: float
    mistake: tuple[str, float]
    shift: tuple[int, int, float]
    clear: int
    offset: tuple[float, float]
    error: tuple[float, float]

    @property
    def quality(self) -> float:
        """Return 0 for labels no better than another image's, 1 for the strongest corners."""
        return self.scaled(self.rank)

    def scaled(self, rank: float) -> float:
        return (rank - self.chance) / max(1 - self.chance, 1e-6)


def corner_evidence(drawn: Sequence[Drawn]) -> CornerEvidence:
    """Compare labels with the corner strength of their images (the smaller eigenvalue of Shi, Tomasi 1994).

    Ranks do not depend on contrast and noise. Corners to a fraction of a pixel come from `cv2.cornerSubPix` (Foerstner
    1987), which knows nothing of labels.
    """
    drawn = [(clearest(image), points[inside(points, *image.shape[:2])]) for image, points in drawn]
    drawn = [(image, points) for image, points in drawn if len(points)]
    ranks = np.stack([_corner_rank(image) for image, _ in drawn]) if drawn else np.zeros((0, 1, 1), np.float32)
    own = [points for _, points in drawn]
    mistakes = {
        name: _mean_rank(ranks, [np.asarray(move(xy, *image.shape[::-1]), np.float32) for image, xy in drawn])
        for name, move in MISTAKES.items()
    }
    mistake = max(mistakes, key=lambda name: mistakes[name])
    offsets = [_offsets(image, points, rank) for (image, points), rank in zip(drawn, ranks, strict=True)]
    offset = np.concatenate([*offsets, np.zeros((0, 2))])
    median, deviation = np.zeros(2), np.full(2, np.inf)
    if len(offset):
        median = np.median(offset, axis=0)
        deviation = 1.4826 * np.median(np.abs(offset - median), axis=0)
    error = 1.253 * deviation / np.sqrt(max(len(offset), 1))  # of a median of normal errors
    return CornerEvidence(
        points=sum(map(len, own)),
        rank=_mean_rank(ranks, own),
        chance=_mean_rank(ranks, own[1:] + own[:1]),
        mistake=(mistake, mistakes[mistake]),
        shift=_best_shift(ranks, own),
        clear=len(offset),
        offset=(float(median[0]), float(median[1])),
        error=(float(error[0]), float(error[1])),
    )


def clearest(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the channel [H, W] of an image with the largest spread."""
    return image if image.ndim == 2 else np.ascontiguousarray(image[:, :, image.std(axis=(0, 1)).argmax()])


def _corner_rank(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return for every pixel [H, W] the share of the image's pixels that are less of a corner, the best within 1 px."""
    strength = cv2.cornerMinEigenVal(_smoothed(image), 5, ksize=3)
    rank = np.searchsorted(np.sort(strength, axis=None), strength).astype(np.float32) / strength.size
    return np.asarray(cv2.dilate(rank, np.ones((3, 3), np.uint8)), np.float32)


def _smoothed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.7), np.uint8)  # noise of single pixels has corners of its own


def _mean_rank(ranks: NDArray[np.float32], points: Sequence[Points], dx: int = 0, dy: int = 0) -> float:
    """Return the mean of ranks [B, H, W] at the points (x + dx, y + dy); 0 if fewer than half of them are inside."""
    if not len(points):
        return 0.0
    image = np.repeat(np.arange(len(points)), [len(xy) for xy in points])
    x, y = np.floor(np.concatenate(points) + 0.5).astype(int).T + np.array([[dx], [dy]])
    there = (x >= 0) & (y >= 0) & (x < ranks.shape[2]) & (y < ranks.shape[1])
    return float(ranks[image[there], y[there], x[there]].mean()) if 2 * there.sum() >= max(len(x), 1) else 0.0


def _best_shift(ranks: NDArray[np.float32], points: Sequence[Points]) -> tuple[int, int, float]:
    reach = sorted(range(-REACH, REACH + 1), key=abs)  # of equal ranks the smallest shift
    shifts = [(dx, dy, _mean_rank(ranks, points, dx, dy)) for dy in reach for dx in reach]
    return max(shifts, key=lambda shift: shift[2])


def _offsets(image: NDArray[np.uint8], points: Points, rank: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return label - corner [M, 2] in pixels, for the labels at clear corners."""
    points = points[inside(points, *image.shape, margin=MARGIN)]
    x, y = np.floor(points + 0.5).astype(int).T
    points = points[rank[y, x] > CLEAR]
    if not len(points):
        return np.zeros((0, 2))
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 0.01)
    start = points.astype(np.float32).reshape(-1, 1, 2).copy()  # refined in place
    corners = np.asarray(cv2.cornerSubPix(_smoothed(image), start, (3, 3), (-1, -1), stop)).reshape(-1, 2)
    step = np.linalg.norm(corners - points, axis=1)
    # A point that has not moved at all is one where OpenCV gave up.
    return (points - corners)[(step > 0) & (step < MAX_STEP)].astype(np.float64)
