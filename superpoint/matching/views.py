"""View search: matches of images that are turned, or of very different scale, by looking at copies of them.

Networks lose their matches beyond about 60 degrees of in-plane rotation and beyond twice the size. Where upright
matching finds too little, copies of the first image turned by right angles, and copies of either shrunk to a half and
a quarter, are matched by their strongest keypoints. The best supported pair of copies tells how the first image looks
from the second; seen so, it is matched again. Sources: Yu and Morel 2011 (ASIFT); Mishkin et al. 2015 (MODS).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.errors import check_one_of
from superpoint.features import Features
from superpoint.geometry.homography import Matrix, frame_corners, inside, inverse, resize_matrix, warp_points
from superpoint.matching.homography import Homography, estimate_homography
from superpoint.matching.matchers import match
from superpoint.matching.matches import Matches
from superpoint.matching.two_view import estimate_fundamental
from superpoint.matching.verdict import false_alarms, verdict

Pixels = NDArray[Any]  # [H, W] or [H, W, C], whatever the extractor takes
Extract = Callable[[Pixels], Features]

VIEWS = ("auto", "none", "rotations", "all")
SCALES = (1.0, 0.5, 0.25)
STRONGEST = 500  # keypoints of a copy that are matched
SAMPLES = 500  # of the estimator, while copies are compared
SMALLEST = 32  # px, shorter side of a copy
# Upright matching is enough if this share of the matches agrees: on pairs of `superpoint-lite` with less, the search
# lowered the median error of the corners from 2 px to .2 px. With so many inliers no further copies are tried.
SHARE, ENOUGH = 1 / 3, 100
IN_DEPTH = -40.0  # or with log10 of the false alarms of a fundamental matrix below this
CHANCE = 10  # inliers of copies, fewer are taken for chance: wrong homographies have up to 8, right ones 15
STRETCH = 4.0  # max ratio of the two scales of the view that is refined in


class Copies:
    """An image and its turned and shrunk copies; the features of each are computed once.

    Make one per image, and give it to `match_views` for every pair the image is in.
    """

    def __init__(self, image: Pixels, extract: Extract, features: Features | None = None) -> None:
        """Args: features, of the image itself if they are known."""
        self.image, self.extract = image, extract
        self._found: dict[tuple[int, float], tuple[Features, Matrix]] = {}
        if features is not None:
            self._found[0, 1.0] = features, np.eye(3)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.image.shape[0], self.image.shape[1]

    def features(self, turns: int = 0, scale: float = 1.0) -> tuple[Features, Matrix]:
        """Return the features of a copy turned by `turns` right angles, anticlockwise, and the matrix image -> copy."""
        key = (turns, scale)
        if key not in self._found:
            height, width = (max(1, round(side * scale)) for side in self.size)
            copy = self.image if scale == 1 else _shrunk(self.image, height, width)
            matrix = resize_matrix(width / self.size[1], height / self.size[0])
            for _ in range(turns):
                matrix = np.array([[0.0, 1, 0], [-1, 0, width - 1], [0, 0, 1]]) @ matrix
                height, width = width, height
            self._found[key] = self.extract(np.ascontiguousarray(np.rot90(copy, turns))), matrix
        return self._found[key]

    def seen(self, view: Matrix, size: tuple[int, int]) -> Features:
        """Return the features of the image warped by `view` to (height, width), in pixels of the image itself."""
        image, scale = self.image, float(abs(np.linalg.det(view[:2, :2])) ** 0.5)
        if scale < 1:  # averaged first: it would alias otherwise
            height, width = (max(1, round(side * scale)) for side in self.size)
            image = _shrunk(image, height, width)
        shrink = resize_matrix(image.shape[1] / self.size[1], image.shape[0] / self.size[0])
        warped = cv2.warpPerspective(image, view @ inverse(shrink), size[::-1], borderMode=cv2.BORDER_REPLICATE)
        found = self.extract(warped)
        points = warp_points(found.keypoints, inverse(view))
        found = replace(found, keypoints=points, image_size=self.size[::-1])
        return found.take(inside(points, *self.size))


class ViewMatch(NamedTuple):
    """Features of both images in pixels of the images, their matches, the homography, and how they were found.

    `view` [3, 3] maps the first image to the copy its features are of, None if that is the image itself. `tried`: pairs
    of copies that were compared.
    """

    features0: Features
    features1: Features
    matches: Matches
    homography: Homography
    view: Matrix | None
    tried: int


def match_views(
    first: Copies,
    second: Copies,
    views: str = "auto",
    matcher: str = "mutual",
    estimator: str = "gcransac",
    *,
    threshold: float | None = None,
) -> ViewMatch:
    """Match two images, of any in-plane rotation and of scales between 1/4 and 4.

    Args:
        views: "none" matches the images as they are. "auto" looks again where less than a third of the matches agree
            with a homography, and no fundamental matrix explains them: at turned and shrunk copies ("rotations": turned
            ones alone) until a hundred matches agree, then from the best of them. "all" tries all in any case. Without
            a homography, turns by right angles are tried by the fundamental matrix.
        matcher, estimator, threshold: see `match` and `fit_homography`.

    Raises: UserError for a word or value out of range, or features without descriptors.
    """
    check_one_of("views", views, VIEWS)
    upright = first.features()[0], second.features()[0]
    matches = match(*upright, matcher)
    found = estimate_homography(*upright, matches, estimator, threshold=threshold)
    result = ViewMatch(*upright, matches, found, None, 0)
    if views == "none" or (views != "all" and _suffices(result, estimator, threshold)):
        return result
    best, pairs = None, _pairs(first, second, SCALES[:1] if views == "rotations" else SCALES)
    if views != "all" and found.inliers.sum() >= ENOUGH:
        best, pairs = _support((upright[0], np.eye(3)), (upright[1], np.eye(3)), matches, found), []
    for tried, (turns, scale0, scale1) in enumerate(pairs, 1):
        copies = first.features(turns, scale0), second.features(0, scale1)
        strong = copies[0][0].take(slice(STRONGEST)), copies[1][0].take(slice(STRONGEST))
        matches = match(*strong, matcher)
        support = _support(*copies, matches, estimate_homography(*strong, matches, iterations=SAMPLES))
        result = result._replace(tried=tried)
        if support is not None and (best is None or support[0] > best[0]):
            best = support
        if views != "all" and best is not None and best[0] >= ENOUGH:
            break
    if best is not None:
        view, size = _into_second(best[1], best[2], first.size, second.size)
        features = first.seen(view, size), upright[1]
        matches = match(*features, matcher)
        refined = estimate_homography(*features, matches, estimator, threshold=threshold)
        if refined.inliers.sum() > found.inliers.sum():
            result = ViewMatch(*features, matches, refined, view, result.tried)
    if verdict(result.features1, result.homography, estimator, threshold=threshold) == "match":
        return result
    return _turned(first, result, matcher, estimator, threshold)


def _turned(first: Copies, found: ViewMatch, matcher: str, estimator: str, threshold: float | None) -> ViewMatch:
    """Return what a fundamental matrix supports best: `found`, or the first image turned by right angles.

    Of a scene in depth seen from two places, too few matches of two copies may agree with a homography.
    """
    turned = [found]
    for turns in (1, 2, 3):
        copy, to_copy = first.features(turns)
        points = warp_points(copy.keypoints, inverse(to_copy))
        features = replace(copy, keypoints=points, image_size=first.size[::-1]), found.features1
        matches = match(*features, matcher)
        homography = estimate_homography(*features, matches, estimator, threshold=threshold)
        turned.append(ViewMatch(*features, matches, homography, to_copy, found.tried))
    models = [estimate_fundamental(*each[:3], estimator, threshold=threshold) for each in turned]
    alarms = [false_alarms(found.features1, each, estimator, threshold=threshold) for each in models]
    best = int(np.argmin(alarms))
    return turned[best if verdict(found.features1, models[best], estimator, threshold=threshold) == "match" else 0]


def _suffices(found: ViewMatch, estimator: str, threshold: float | None) -> bool:
    """Tell whether enough matches agree with the homography, or with the fundamental matrix of a scene in depth."""
    if found.homography.inliers.sum() >= max(2 * CHANCE, SHARE * len(found.matches)):
        return True
    epipolar = estimate_fundamental(*found[:3], estimator, threshold=threshold)
    alarms = (false_alarms(found[1], each, estimator, threshold=threshold) for each in (epipolar, found.homography))
    return next(alarms) < min(IN_DEPTH, next(alarms))


def _pairs(first: Copies, second: Copies, scales: tuple[float, ...]) -> list[tuple[int, float, float]]:
    """Return (right angles of the first, scale of the first, scale of the second), the likely ones first."""
    both = [(scale, 1.0) for scale in scales] + [(1.0, scale) for scale in scales[1:]]
    sides = min(first.size), min(second.size)
    large = [pair for pair in both if all(s == 1 or s * side >= SMALLEST for s, side in zip(pair, sides, strict=True))]
    return [(turns, *pair) for pair in large for turns in range(4)]


def _support(
    first: tuple[Features, Matrix], second: tuple[Features, Matrix], matches: Matches, found: Homography
) -> tuple[int, Matrix, Matrix] | None:
    """Return the inliers of two copies, the homography between the images, and their mean in the first [2]; or None."""
    count = int(found.inliers.sum())
    if found.matrix is None or count < CHANCE:
        return None
    inliers = first[0].keypoints[matches.indices[found.inliers, 0]]
    centre = warp_points(inliers, inverse(first[1])).mean(axis=0)
    return count, inverse(second[1]) @ found.matrix @ first[1], centre


def _into_second(
    h_first_second: Matrix, centre: NDArray[np.floating], first: tuple[int, int], second: tuple[int, int]
) -> tuple[Matrix, tuple[int, int]]:
    """Return the affine map that a homography is at `centre`, moved into a frame, and the frame's (height, width).

    The frame holds what of the first image (height, width) falls into the second. Of a scene that is no plane, this is
    still how its middle looks from there.
    """
    x, y, depth = h_first_second @ np.append(centre, 1.0)
    place = np.array([x, y]) / depth
    jacobian = (h_first_second[:2, :2] - np.outer(place, h_first_second[2, :2])) / depth
    left, scales, right = np.linalg.svd(jacobian)
    scales = np.clip(scales, scales.max() / STRETCH, None)
    view = np.eye(3)
    view[:2, :2] = left * scales @ right
    view[:2, 2] = place - view[:2, :2] @ centre
    corners = warp_points(frame_corners(*first), view)
    low, high = np.maximum(corners.min(axis=0), -0.5), np.minimum(corners.max(axis=0), np.array(second[::-1]) - 0.5)
    view[:2, 2] -= low + 0.5
    width, height = np.maximum(np.ceil(high - low), SMALLEST).astype(int).tolist()
    return view, (height, width)


def _shrunk(image: Pixels, height: int, width: int) -> Pixels:
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).reshape(height, width, *image.shape[2:])
