import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import ArrayLike, NDArray

from superpoint import visualize
from superpoint.errors import UserError
from superpoint.visualize import (
    ORANGE,
    VERMILION,
    colormap,
    contact_sheet,
    draw_keypoints,
    draw_strongest,
    enlarge,
    figure_to_image,
    overlay_heatmap,
    precision_recall_figure,
    probability_picture,
    save_figure,
    save_image,
    to_rgb,
)
from tests.drawing import centroid

GRAY = np.full((12, 20), 128, np.uint8)


def inked(pixels: NDArray[np.uint8], color: ArrayLike) -> bool:
    """Whether all pixels [..., 3] have the colour, as far as an anti-aliased line one pixel wide covers them."""
    return bool((np.abs(pixels.astype(int) - np.asarray(color)) <= 45).all())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.full((2, 3), 7, np.uint8), 7),
        (np.full((1, 2, 3), 0.5, np.float32), 128),
        (np.full((2, 3, 1), 2.0), 255),
        (np.full((2, 3), -1.0), 0),
        (np.full((2, 3), np.nan), 0),
        (np.ones((2, 3), bool), 255),
    ],
)
def test_to_rgb(value: NDArray[np.generic], expected: int):
    rgb = to_rgb(value)
    assert (rgb.shape, rgb.dtype) == ((2, 3, 3), np.uint8)
    assert (rgb == expected).all()


@pytest.mark.parametrize(
    "value",
    [np.zeros((2, 3, 4, 1), np.uint8), np.zeros(3, np.uint8), np.zeros((0, 3), np.uint8), np.zeros((2, 3), int)],
)
def test_to_rgb_refuses(value: NDArray[np.generic]):
    with pytest.raises(ValueError, match="image: found"):
        to_rgb(value)


def test_enlarge_makes_blocks():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    big = enlarge(to_rgb(image), 4)
    assert big.shape == (8, 12, 3)
    for y in range(2):
        for x in range(3):
            assert (big[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] == image[y, x]).all()


@pytest.mark.parametrize("scale", [1, 3, 8])
@pytest.mark.parametrize("point", [(9, 6), (9.5, 6.25), (11.8, 4.4)])
@pytest.mark.parametrize("kind", ["keypoints", "truth"])
def test_markers_lie_where_the_pixel_convention_puts_them(scale: int, point: tuple[float, float], kind: str):
    points, truth = ([point], None) if kind == "keypoints" else ([], [point])
    picture = draw_keypoints(GRAY, points, truth=truth, scale=scale, radius=2.0)
    assert picture.shape == (12 * scale, 20 * scale, 3)
    expected = [(value + 0.5) * scale - 0.5 for value in point]
    # An eighth of a pixel: OpenCV's fixed point plus anti-aliasing. Scaling by s alone would be off by (s - 1) / 2.
    assert centroid(np.abs(picture.astype(float) - 128).sum(axis=2)) == pytest.approx(expected, abs=0.13)


def test_the_marked_pixel_is_the_one_inside_the_ring():
    image = np.zeros((9, 9), np.uint8)
    image[2, 6] = 255
    picture = draw_keypoints(image, [[6, 2]], scale=11, radius=9)
    assert (picture[22:33, 66:77] == 255).all()  # the whole block of the pixel, untouched
    assert inked(picture[27, 71 + 9], ORANGE)


def test_scores_colour_and_size_the_rings_and_the_strong_lie_on_top():
    def ring(scores: list[float], radius: int) -> NDArray[np.uint8]:
        points = [[9, 6]] * len(scores)  # (85, 58) on the enlargement
        return draw_keypoints(GRAY, points, scores, scale=9, radius=10)[58, 85 + radius]

    strong, weak = colormap(1.0), colormap(0.35)
    assert not inked(strong, weak)
    for scores in ([1.0], [1.0, 0.01], [0.01, 1.0]):
        assert inked(ring(scores, 10), strong)
    assert inked(ring([0.01], 4), weak)
    assert inked(ring([0.1], 7), colormap(0.675))  # halfway, by the logarithm
    assert inked(ring([0.1, 0.1], 7), ring([0.1], 7))


def test_only_the_strongest_are_drawn_and_the_title_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    points, scores = np.array([[4.0, 6.0], [14.0, 6.0]]), np.array([0.02, 0.5])
    assert draw_strongest(GRAY, points, scores, "a")[1] == "a: 2 keypoints"
    monkeypatch.setattr(visualize, "MAX_RINGS", 1)
    picture, title = draw_strongest(GRAY, points, scores, "a", scale=9)
    assert title == "a: 2 keypoints, the strongest 1 drawn"
    assert (picture[:, :90] == 128).all()
    assert not (picture[:, 90:] == 128).all()


def test_a_probability_spreads_by_two_pixels():
    probability = np.zeros((12, 20))
    probability[6, 8] = 1.0
    picture = probability_picture(GRAY, probability)
    assert (picture[4:9, 6:11] == colormap(1.0)).all()
    assert (picture == 77).all(axis=2).sum() == 12 * 20 - 25


def test_the_legend_of_scores_stands_below():
    images = [np.full((30, 400, 3), 128, np.uint8)]
    sheet, bare = contact_sheet(images, scores=True), contact_sheet(images)
    np.testing.assert_array_equal(sheet[: len(bare)], bare)
    assert len(sheet) == len(bare) + 24
    assert (np.abs(sheet[len(bare) :].astype(int) - colormap(1.0)) <= 45).all(axis=2).any()


def test_truth_is_a_vermilion_cross_and_is_not_a_point():
    picture = draw_keypoints(GRAY, [], truth=[[9, 6]], scale=9, radius=6)
    assert inked(picture[58, 85 - 5 : 85 + 6], VERMILION)
    assert inked(picture[58 - 5 : 58 + 6, 85], VERMILION)
    assert (picture[58 - 4, 85 + 4] == 128).all()  # no ring


def test_points_outside_the_image_and_no_points_are_harmless():
    picture = draw_keypoints(GRAY, [[-100, 5], [1e9, 1e9], [5, -1e12]], scale=2)
    np.testing.assert_array_equal(picture, enlarge(to_rgb(GRAY), 2))
    np.testing.assert_array_equal(draw_keypoints(GRAY, np.empty((0, 2)), []), to_rgb(GRAY))


def test_draw_keypoints_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="reshape"):
        draw_keypoints(GRAY, [[1, 1], [2, 2]], [0.5])
    with pytest.raises(ValueError, match="truth: found coordinates"):
        draw_keypoints(GRAY, [], truth=[[np.nan, 1]])


def test_drawing_leaves_the_image_alone():
    image = np.full((12, 20, 3), 128, np.uint8)
    draw_keypoints(image, [[5, 5]])
    assert (image == 128).all()


def test_heatmap_shows_the_image_where_it_is_zero_and_the_map_where_it_is_largest():
    heatmap = np.zeros((12, 20))
    heatmap[3, 4], heatmap[5, 6] = 1.0, 0.5
    picture = overlay_heatmap(GRAY, heatmap)
    assert picture[0, 0].tolist() == [77, 77, 77]  # 0.6 * 128
    assert picture[3, 4].tolist() == colormap(1.0).tolist()
    assert picture[5, 6].tolist() not in ([77, 77, 77], picture[3, 4].tolist())
    assert overlay_heatmap(GRAY, heatmap, scale=3).shape == (36, 60, 3)
    np.testing.assert_array_equal(overlay_heatmap(GRAY, heatmap, scale=3)[::3, ::3], picture)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_an_empty_heatmap_is_the_dimmed_image(value: float):
    assert (overlay_heatmap(GRAY, np.full((12, 20), value)) == 77).all()


def test_heatmap_of_another_size():
    with pytest.raises(ValueError, match="heatmap: found shape"):
        overlay_heatmap(GRAY, np.zeros((20, 12)))


def test_contact_sheet_places_images_in_rows():
    images = [np.full((10, 16), value, np.uint8) for value in (10, 20, 30, 40, 50)]
    sheet = contact_sheet(images, columns=2)
    assert sheet.shape == (3 * 14 + 4, 2 * 20 + 4, 3)
    for index, image in enumerate(images):
        y, x = 4 + 14 * (index // 2), 4 + 20 * (index % 2)
        assert (sheet[y : y + 10, x : x + 16] == image[0, 0]).all()
    assert (sheet[4 + 28 : 4 + 38, 4 + 20 :] == 255).all()  # the place that stays free
    assert contact_sheet(images[:1], columns=4).shape == (18, 24, 3)


def test_contact_sheet_of_mixed_sizes_and_titles():
    small, large = np.zeros((6, 10, 3), np.uint8), np.zeros((20, 30), np.uint8)
    sheet = contact_sheet([small, large], ["a title far too long for its cell", ""], columns=2)
    assert sheet.shape == (20 + 16 + 8, 2 * 34 + 4, 3)
    assert (sheet[20 + 7 : 20 + 13, 4 + 10 : 4 + 20] == 0).all()  # centred below its title
    title = sheet[4:20]
    assert (title[:, 4:34] < 128).any()
    assert (title[:, 34:] == 255).all()  # the first title stays in its cell, the second is empty


def test_precision_recall_figure_draws_the_envelope():
    figure = precision_recall_figure({"ours": ([0, 0.5, 1.0], [1.0, 0.9, 0.2]), "none": ([], [])}, "eps 4 px")
    axes = figure.axes[0]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("eps 4 px", "recall", "precision")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ours", "none"]
    line = axes.lines[0]
    assert np.array(line.get_data()).tolist() == [[0, 0.5, 1.0], [1.0, 0.9, 0.2]]
    assert line.get_drawstyle() == "steps-pre"


def test_many_curves_look_different():
    figure = precision_recall_figure({str(i): ([0, 1], [1, 0]) for i in range(10)})
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == 10
    image = figure_to_image(figure)
    assert (image.shape, image.dtype) == ((480, 640, 3), np.uint8)
    assert (image < 100).any()


def test_save_image_keeps_every_pixel_and_the_order_of_colours(tmp_path: Path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    path = save_image(tmp_path / "a" / "b.png", image)
    with PIL.Image.open(path) as written:
        np.testing.assert_array_equal(np.array(written), image)
    assert os.listdir(path.parent) == ["b.png"]  # nothing temporary is left
    save_figure(path, precision_recall_figure({}))
    with PIL.Image.open(path) as written:
        assert written.size == (640, 480)  # replaced


def test_save_image_where_it_cannot(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: cannot be written \(File exists\)"):
        save_image(tmp_path / "file" / "a.png", GRAY)
    with pytest.raises(UserError, match=r"found the ending '\.gif', expected \.png or \.jpg"):
        save_image(tmp_path / "a.gif", GRAY)
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(UserError, match=r"taken\.png: cannot be written"):
        save_image(tmp_path / "taken.png", GRAY)
    assert sorted(os.listdir(tmp_path)) == ["file", "taken.png"]
