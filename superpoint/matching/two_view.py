"""Two views of a scene that is no plane: fundamental and essential matrix from matches, and the relative pose."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.homography import Matrix, warp_points
from superpoint.matching.homography import ITERATIONS, OPENCV, THRESHOLDS, Homography, check_estimator
from superpoint.matching.matches import Matches, matched_keypoints

# OpenCV's USAC_ACCURATE and USAC_MAGSAC with more samples than they draw by these names. Drawn scenes with 80 % wrong
# matches that get a pose within 5 degrees: by the names .35 and .58 of 26, with more samples .86 of 14. PoseLib solves
# all of them, and takes 2 to 9 times as long.
FIVE_POINTS = {"gcransac": 20_000, "magsac": 5000}  # samples of the essential matrix
STRATEGIES = {
    "gcransac": (cv2.SCORE_METHOD_MSAC, cv2.LOCAL_OPTIM_GC),
    "magsac": (cv2.SCORE_METHOD_MAGSAC, cv2.LOCAL_OPTIM_SIGMA),
}
SAMPLES = {"fundamental": 7, "essential": 5}  # matches that a matrix is made from


class Fundamental(NamedTuple):
    """`matrix` F [3, 3]: x1^T F x0 = 0 for matched pixels; None if none was found. `inliers`: bool [M]."""

    matrix: Matrix | None
    inliers: NDArray[np.bool_]


class Essential(NamedTuple):
    """`matrix` E [3, 3]: as F, for x = K^-1 pixel; None if none was found. `inliers`: bool [M]."""

    matrix: Matrix | None
    inliers: NDArray[np.bool_]


class Pose(NamedTuple):
    """The second camera from the first: X1 = `rotation` X0 + `translation`, of length 1, for the scale is not known.

    `inliers`: bool [M], those of the matrix that lie in front of both cameras.
    """

    rotation: Matrix
    translation: NDArray[np.float64]
    inliers: NDArray[np.bool_]


def estimate_fundamental(
    features0: Features,
    features1: Features,
    matches: Matches,
    method: str = "gcransac",
    *,
    threshold: float | None = None,
    iterations: int | None = None,
    confidence: float = 0.9999,
) -> Fundamental:
    """Estimate the fundamental matrix from the first image to the second, of cameras that are not known.

    Args: as of `fit_homography`; `threshold` is the distance from the epipolar line.
    Returns: no matrix for fewer than seven matches, or if they allow none.
    Raises: UserError, ValueError as `estimate_homography`.
    """
    check_estimator(method, threshold, iterations, confidence)
    first, second = (each.astype(np.float64) for each in matched_keypoints(features0, features1, matches))
    if len(first) < SAMPLES["fundamental"]:
        return Fundamental(None, np.zeros(len(first), bool))
    found, agreeing = cv2.findFundamentalMat(
        first,
        second,
        OPENCV[method],
        THRESHOLDS[method] if threshold is None else threshold,
        min(confidence, 1 - 1e-9),
        ITERATIONS[method] if iterations is None else iterations,
    )
    return Fundamental(*_checked(found, agreeing, len(first)))


def estimate_essential(
    features0: Features,
    features1: Features,
    matches: Matches,
    intrinsics: Sequence[ArrayLike],
    method: str = "gcransac",
    *,
    threshold: float | None = None,
    confidence: float = 0.9999,
) -> Essential:
    """Estimate the essential matrix from the first image to the second, of cameras that are known.

    Args:
        intrinsics: K [3, 3] of both cameras, for points with pixel centres at integers; see `camera_matrix`.
        method, threshold, confidence: as of `estimate_fundamental`.

    Raises: UserError, ValueError as `estimate_homography`; UserError for intrinsics of zero.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X, K = rng.uniform((-2, -2, 4), (2, 2, 8), (50, 3)), camera_matrix(500, (640, 480))
    >>> first, second = ((X + t) @ K.T for t in ((0, 0, 0), (1, 0, 0)))  # the second camera stands 1 to the left
    >>> a, b = (Features(x[:, :2] / x[:, 2:], image_size=(640, 480)) for x in (first, second))
    >>> pairs = Matches(np.stack([np.arange(50)] * 2, axis=1), np.ones(50))
    >>> E = estimate_essential(a, b, pairs, (K, K))
    >>> pose = relative_pose(a, b, pairs, E, (K, K))
    >>> (pose.translation.round(2) + 0).tolist(), int(pose.inliers.sum())
    ([1.0, 0.0, 0.0], 50)
    """
    check_estimator(method, threshold, None, confidence)
    cameras = [_camera(each) for each in intrinsics]
    first, second = (each.astype(np.float64) for each in matched_keypoints(features0, features1, matches))
    if len(first) < SAMPLES["essential"]:
        return Essential(None, np.zeros(len(first), bool))
    radius = THRESHOLDS[method] if threshold is None else threshold
    limit = min(confidence, 1 - 1e-9)
    if method == "ransac":
        found = cv2.findEssentialMat(first, second, cameras[0], None, cameras[1], None, cv2.RANSAC, limit, radius)
    else:
        usac = cv2.UsacParams()
        usac.threshold, usac.confidence, usac.maxIterations = radius, limit, FIVE_POINTS[method]
        usac.score, usac.loMethod = STRATEGIES[method]
        usac.loIterations, usac.loSampleSize, usac.final_polisher_iterations = 10, 50, 10
        usac.neighborsSearch, usac.sampler, usac.final_polisher = cv2.NEIGH_GRID, cv2.SAMPLING_UNIFORM, cv2.COV_POLISHER
        found = cv2.findEssentialMat(first, second, cameras[0], cameras[1], None, None, usac)
    return Essential(*_checked(found[0], found[1], len(first)))


def relative_pose(
    features0: Features, features1: Features, matches: Matches, essential: Essential, intrinsics: Sequence[ArrayLike]
) -> Pose | None:
    """Return the pose of an essential matrix that has the most inliers in front of both cameras; None without one.

    Source: Nister 2004, "An efficient solution to the five-point relative pose problem". Where the camera only turned,
    the translation means nothing; then the homography explains the matches.
    """
    if essential.matrix is None or not essential.inliers.any():
        return None
    points: list[NDArray[np.float64]] = []
    for each, camera in zip(matched_keypoints(features0, features1, matches), intrinsics, strict=True):
        matrix = _camera(camera)
        points.append(np.asarray((each - matrix[:2, 2]) / np.diag(matrix)[:2], np.float64))
    mask = essential.inliers.astype(np.uint8)[:, None]
    _, rotation, translation, front = cv2.recoverPose(essential.matrix, points[0], points[1], np.eye(3), mask=mask)
    moved = np.asarray(translation, np.float64).reshape(3)
    return Pose(np.asarray(rotation, np.float64), moved, front.reshape(-1) > 0)


def camera_matrix(focal: float, image_size: tuple[int, int]) -> Matrix:
    """Return K [3, 3] of a focal length in pixels and the principal point in the centre of (width, height)."""
    width, height = image_size
    return _camera([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def residuals(
    model: Any, points0: NDArray[np.floating], points1: NDArray[np.floating], intrinsics: Sequence[ArrayLike] | None
) -> NDArray[np.float64]:
    """Return by how many pixels of the second image points [N, 2] miss where a model puts them, or their line."""
    if isinstance(model, Homography) and model.matrix is not None:
        return np.linalg.norm(warp_points(points0, model.matrix).astype(np.float64) - points1, axis=1)
    matrix = epipolar_matrix(model, intrinsics)
    if matrix is None:
        return np.full(len(points0), np.nan)
    lines = np.insert(points0.astype(np.float64), 2, 1, axis=1) @ matrix.T
    far = np.abs((lines[:, :2] * points1).sum(axis=1) + lines[:, 2])
    return far / np.maximum(np.linalg.norm(lines[:, :2], axis=1), 1e-12)


def epipolar_matrix(model: Any, intrinsics: Sequence[ArrayLike] | None) -> Matrix | None:
    """Return F of a `Fundamental`, or of an `Essential` and its intrinsics; None of others."""
    if isinstance(model, Fundamental):
        return model.matrix
    if not isinstance(model, Essential) or model.matrix is None or intrinsics is None:
        return None
    first, second = (np.linalg.inv(_camera(each)) for each in intrinsics)
    return np.asarray(second.T @ model.matrix @ first, np.float64)


def _camera(intrinsics: ArrayLike) -> Matrix:
    camera = np.asarray(intrinsics, np.float64)
    if camera.shape != (3, 3) or not np.isfinite(camera).all() or camera[0, 0] <= 0 or camera[1, 1] <= 0:
        raise UserError(
            f"intrinsics: found {camera.tolist()}, expected a matrix [3, 3] with focal lengths above 0, in pixels"
        )
    return camera


def _checked(found: Any, agreeing: Any, count: int) -> tuple[Matrix | None, NDArray[np.bool_]]:
    if found is None or found.shape != (3, 3) or not np.isfinite(found).all() or not np.any(found):
        return None, np.zeros(count, bool)
    length = np.linalg.norm(found)
    return np.asarray(found / length, np.float64), agreeing.reshape(-1).astype(bool)
