"""Fundamental and essential matrix and the pose, of points whose cameras are known."""

from typing import NamedTuple

import cv2
import numpy as np
import pytest

from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.homography import Matrix
from superpoint.matching import (
    ESTIMATORS,
    Essential,
    Fundamental,
    Homography,
    Matches,
    camera_matrix,
    estimate_essential,
    estimate_fundamental,
    explain,
    relative_pose,
    verdict,
)
from superpoint.matching.two_view import epipolar_matrix, residuals

SIZE = (640, 480)
CAMERAS = (camera_matrix(500, SIZE), camera_matrix(620, SIZE))
ROTATION = np.asarray(cv2.Rodrigues(np.array([0.05, -0.2, 0.1]))[0], np.float64)
MOVE = np.array([0.8, 0.1, 0.2])


class Scene(NamedTuple):
    first: Features
    second: Features
    matches: Matches


def scene(outliers: int = 0, *, flat: bool = False, move: np.ndarray = MOVE, count: int = 150) -> Scene:
    """Points in front of both cameras, with noise of .3 px, of which `outliers` are matched at random."""
    rng = np.random.default_rng(0)
    points = rng.uniform((-2.5, -2, 4), (2.5, 2, 9), (count, 3))
    if flat:
        points[:, 2] = 6 + 0.3 * points[:, 0]
    seen = []
    for camera, each in zip(CAMERAS, (points, points @ ROTATION.T + move), strict=True):
        projected = each @ camera.T
        seen.append(projected[:, :2] / projected[:, 2:] + rng.normal(0, 0.3, (count, 2)))
    seen[1][:outliers] = rng.uniform((0, 0), SIZE, (outliers, 2))
    first, second = (Features(xy, image_size=SIZE) for xy in seen)
    return Scene(first, second, Matches(np.stack([np.arange(count)] * 2, axis=1), np.ones(count)))


def true_essential() -> Matrix:
    x, y, z = MOVE
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ ROTATION


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_matrices_and_pose_among_outliers(estimator: str) -> None:
    seen = scene(40)
    for found in (
        estimate_fundamental(*seen, estimator),
        estimate_essential(*seen, CAMERAS, estimator),
    ):
        assert found.inliers[40:].mean() > 0.9
        assert found.inliers[:40].mean() < 0.2
        assert np.nanmedian(residuals(found, seen.first.keypoints, seen.second.keypoints, CAMERAS)[40:]) < 0.8
    assert isinstance(found, Essential)
    assert found.matrix is not None
    truth = true_essential() / np.linalg.norm(true_essential())
    assert min(np.abs(found.matrix - truth).max(), np.abs(found.matrix + truth).max()) < 0.05
    pose = relative_pose(*seen, found, CAMERAS)
    assert pose is not None
    np.testing.assert_allclose(pose.rotation, ROTATION, atol=0.04)
    np.testing.assert_allclose(pose.translation, MOVE / np.linalg.norm(MOVE), atol=0.1)
    assert pose.inliers.sum() > 95


def test_the_kind_follows_from_the_scene() -> None:
    deep = explain(*scene(40))
    assert (deep.kind, set(deep.evidence)) == ("fundamental", {"homography", "fundamental"})
    assert isinstance(deep.model, Fundamental)
    assert "which has the stronger evidence (as good by chance: homography 10^" in deep.why()
    assert explain(*scene(40), intrinsics=CAMERAS).kind == "essential"
    assert explain(*scene(40, flat=True)).kind == "homography"
    assert explain(*scene(40, move=np.zeros(3))).kind == "homography"  # a camera that turns
    asked = explain(*scene(40, flat=True), "fundamental")
    assert (asked.kind, asked.why()) == ("fundamental", "fundamental, as asked for")
    assert explain(*scene(40), "essential", intrinsics=CAMERAS).kind == "essential"


def test_a_scene_in_depth_is_a_match_by_its_epipolar_geometry_alone() -> None:
    seen = scene(110, count=150)
    found = explain(*seen)
    assert found.kind == "fundamental"
    assert verdict(seen.second, found.model) == "match"
    chance = scene(150, count=150)
    assert verdict(chance.second, explain(*chance).model) == "no match"
    assert verdict(chance.second, explain(*chance, intrinsics=CAMERAS).model) == "no match"


def test_few_matches_have_no_geometry() -> None:
    few = scene(count=4)
    assert estimate_fundamental(*few).matrix is None
    essential = estimate_essential(*few, CAMERAS)
    assert essential.matrix is None
    assert relative_pose(*few, essential, CAMERAS) is None
    found = explain(*few, kind="fundamental")
    assert (found.model.matrix, verdict(few.second, found.model)) == (None, "no match")
    assert np.isnan(residuals(found.model, few.first.keypoints, few.second.keypoints, None)).all()
    nothing = Matches(np.zeros((0, 2), np.int64), [])
    assert explain(few.first, few.second, nothing).why() == "neither kind: too few matches agree with one"


def test_wrong_intrinsics_are_one_line() -> None:
    seen = scene()
    for camera in (np.zeros((3, 3)), np.eye(2), np.diag([np.nan, 1, 1])):
        with pytest.raises(
            UserError, match=r"intrinsics: found .*expected a matrix \[3, 3\] with focal lengths above 0"
        ):
            estimate_essential(*seen, (camera, CAMERAS[1]))
    with pytest.raises(UserError, match="intrinsics"):
        camera_matrix(0, SIZE)
    with pytest.raises(UserError, match="found 'essential' without intrinsics"):
        explain(*seen, "essential")
    with pytest.raises(UserError, match="kind: found 'affine', expected one of"):
        explain(*seen, "affine")
    with pytest.raises(UserError, match="method: found 'lmeds'"):
        estimate_fundamental(*seen, "lmeds")


def test_a_homography_has_no_epipolar_lines() -> None:
    assert epipolar_matrix(Homography(np.eye(3), np.ones(4, bool)), CAMERAS) is None
    essential = Essential(true_essential(), np.ones(3, bool))
    assert epipolar_matrix(essential, None) is None
    seen = scene()
    assert np.median(residuals(essential, seen.first.keypoints, seen.second.keypoints, CAMERAS)) < 0.5
