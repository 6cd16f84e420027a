import numpy as np
import pytest
from matplotlib.lines import AxLine

from superpoint.inference import Features, Matches, pictures
from superpoint.inference.pictures import SMALL, keypoints_picture, match_figure, track_picture
from superpoint.inference.tracking import Track
from superpoint.matching import Fundamental, Homography
from superpoint.visualize import BLUE, GREEN, MAX_LINES, figure_to_image

GRAY = np.full((90, 120), 128, np.uint8)
FIRST_MARK = 4 + 16  # px: margin and title above the picture


def test_points_are_where_they_belong() -> None:
    points, scores = np.array([[30.0, 20.0], [80.0, 60.0]], np.float32), np.array([1.0, 0.01], np.float32)
    picture = keypoints_picture(GRAY, Features(points, scores, None, (120, 90)), "two keypoints")
    scale = SMALL // 120
    drawn = picture[FIRST_MARK : FIRST_MARK + 90 * scale, 4 : 4 + 120 * scale]
    y, x = np.nonzero((drawn != 128).any(axis=2))
    expected = (points + 0.5) * scale - 0.5
    distances = np.linalg.norm(np.stack([x, y], axis=1)[:, None] - expected[None], axis=2)
    assert (distances.min(axis=1) < 7).all()
    assert (np.bincount(distances.argmin(axis=1)) > 10).all()
    strong = drawn[distances.shape and y[distances[:, 0] < 7], x[distances[:, 0] < 7]].reshape(-1, 3)
    assert (strong.astype(int) @ (1, 1, -2)).max() > 300  # yellow


def test_match_figure_tells_inliers_from_others() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(5, 85, (400, 2)).astype(np.float32)
    features = Features(points, np.ones(400), None, (120, 90))
    matches = Matches(np.stack([np.arange(390)] * 2, axis=1), np.ones(390, np.float32))
    inliers = np.arange(390) < 3
    matrix = np.array([[1.0, 0, 10], [0, 1, 5], [0, 0, 1]])
    figure = match_figure(GRAY, GRAY, (features, features, matches), Homography(matrix, inliers), "title")
    axes = figure.axes[0]
    styles = [line.get_linestyle() for line in axes.get_lines()]
    assert styles.count("-") == 3
    assert styles.count(":") == MAX_LINES
    assert axes.get_title() == f"title; {MAX_LINES + 3} of 390 drawn"
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["without a match (20)", "other matches (387)", "inliers (3)", "first image by the homography"]
    (outline,) = axes.patches
    np.testing.assert_allclose(np.asarray(outline.get_path().vertices)[0], [120 + 12 - 0.5 + 10, 4.5])
    picture = figure_to_image(figure).astype(int)
    for colour in (BLUE, GREEN):
        assert (np.abs(picture - colour).sum(axis=2) < 30).any()


def test_large_images_are_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGE", 60)
    points = np.array([[30.0, 20.0], [80.0, 60.0], [9, 70], [100, 9]], np.float32)
    features = Features(points, np.ones(4), None, (120, 90))
    matches = Matches(np.stack([np.arange(4)] * 2, axis=1), np.ones(4, np.float32))
    homography = Homography(np.array([[1.0, 0, 10], [0, 1, 5], [0, 0, 1]]), np.ones(4, bool))
    axes = match_figure(GRAY, GRAY[:40, :50], (features, features, matches), homography, "title").axes[0]
    start, end = np.asarray(axes.get_lines()[2].get_xydata())
    np.testing.assert_allclose(start, [(30.5 / 2 - 0.5), (20.5 / 2 - 0.5)])
    np.testing.assert_allclose(end, [30 + 60 + 12, 20])  # the second image is small enough
    (outline,) = axes.patches
    np.testing.assert_allclose(np.asarray(outline.get_path().vertices)[0], [60 + 12 + 9.5, 4.5])
    assert keypoints_picture(GRAY, features, "").shape[1] == 8 + 60 * (SMALL // 60)


def test_epipolar_lines_run_through_the_matched_points() -> None:
    points = np.array([[30.0, 20.0], [80.0, 60.0], [9, 70], [100, 9]], np.float32)
    features = Features(points, np.ones(4), None, (120, 90))
    matches = Matches(np.stack([np.arange(4)] * 2, axis=1), np.ones(4, np.float32))
    sideways = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # of a camera moved along x: every line is a row
    colour = np.stack([GRAY, GRAY, GRAY // 2], axis=2)
    model = Fundamental(sideways, np.array([True, True, True, False]))
    figure = match_figure(colour, colour, (features, features, matches), model, "title")
    lines = [line for line in figure.axes[0].get_lines() if isinstance(line, AxLine)]
    ends = [(line.get_xy1() or (0, 0), line.get_xy2() or (0, 0)) for line in lines]
    assert [start[1] for start, _ in ends] == pytest.approx([20.0, 60.0, 70.0] * 2)
    assert all(start[1] == end[1] for start, end in ends)
    assert (figure_to_image(figure).reshape(-1, 3) == (128, 128, 64)).all(axis=1).mean() > 0.3  # the photo is visible


def test_match_figure_of_nothing() -> None:
    empty = Features(np.zeros((0, 2)), np.zeros(0), None, (120, 90))
    matches = Matches(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
    figure = match_figure(GRAY, GRAY[:50], (empty, empty, matches), Homography(None, np.zeros(0, bool)), "none")
    assert figure_to_image(figure).shape[2] == 3


def test_tracks_are_drawn_from_place_to_place() -> None:
    old = Track(0, [np.array([20.0, 30.0], np.float32), np.array([60.0, 30.0], np.float32)], 9)
    new = Track(1, [np.array([100.0, 80.0], np.float32)], 1)
    picture = track_picture(np.repeat(GRAY[:, :, None], 3, axis=2), [old, new], 20, "tracks")
    scale = SMALL // 120
    drawn = picture[FIRST_MARK:, 4:]
    changed = (drawn[: 90 * scale, : 120 * scale] != 128).any(axis=2)
    row = round((30 + 0.5) * scale - 0.5)
    assert changed[row, 21 * scale : 60 * scale].all()
    assert not changed[row + 3, 21 * scale : 59 * scale].any()  # thin
    assert changed[round(80.5 * scale), round(100.5 * scale)]
    assert not changed[80 * scale + 1, 60 * scale]
    assert not changed[:10].any()


def test_a_trail_fades_towards_the_past() -> None:
    places = [np.array([x, 30.0], np.float32) for x in (20.0, 50.0, 80.0)]
    picture = track_picture(GRAY, [Track(0, places, 20)], 20, "tracks")
    scale = SMALL // 120
    row = picture[FIRST_MARK + round(30.5 * scale - 0.5)].astype(int)
    old, young = (np.abs(row[4 + x * scale] - 128).sum() for x in (35, 65))
    assert 0 < old < young
