import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from superpoint.diagnostics.heatmaps.detector_output import measure_output
from superpoint.diagnostics.heatmaps.panels import MARKERS, PANELS, mark, spread
from tests.diagnostics import heatmap_scene as scene

POINTS = [[12.0, 2.0], [28.2, 26.4], [20.0, 10.0], [36.0, 34.0]]


def draw(panel: str, valid: np.ndarray | None = None, points: list[list[float]] | None = None) -> Axes:
    target = None if points else scene.target()
    axes = Figure().subplots()
    PANELS[panel](axes, measure_output(scene.image(), scene.logits(), points, target, valid))
    return axes


def test_marked_cells_are_the_planted_ones() -> None:
    axes = draw("argmax")
    planted = {"missed": scene.MISSED, "false": scene.FALSE, "misplaced": scene.MISPLACED, "as labelled": scene.RIGHT}
    for name, cells in planted.items():
        assert markers_as_cells(axes, name) == sorted(cells), name
    assert axes.get_title() == "argmax vs label: 6 of 48 wrong"
    assert any(str(one.get_label()) == "misplaced (1, 4.2 px)" for one in axes.collections)
    assert axes.get_xlim() == (-0.5, 7.5)
    assert axes.get_ylim() == (5.5, -0.5)


def test_kinds_of_wrong_cells_differ_in_shape() -> None:
    shapes = [one.get_paths()[0].vertices for one in draw("argmax").collections]
    assert len(shapes) == 4
    assert len({np.asarray(shape).tobytes() for shape in shapes}) == 4


def test_cells_that_are_not_valid_are_not_marked_but_darkened() -> None:
    valid = np.ones((6, 8), bool)
    valid[scene.MISSED[0]] = False
    axes = draw("argmax", valid)
    assert markers_as_cells(axes, "missed") == [scene.MISSED[1]]
    veil = np.asarray(axes.images[-1].get_array())
    assert veil.shape == (6, 8, 4)
    assert np.argwhere(veil[..., 3] > 0).tolist() == [list(scene.MISSED[0])]


def markers_as_cells(axes: Axes, name: str) -> list[tuple[int, int]]:
    return sorted((int(y), int(x)) for x, y in scene.markers(axes, name))


def test_labels_are_drawn_where_they_are_and_their_cells_outlined() -> None:
    axes = draw("label", points=POINTS)
    np.testing.assert_allclose(scene.markers(axes, "label point"), POINTS, rtol=1e-6)
    outlines = [np.asarray(line.get_xydata()) for line in axes.lines if len(np.asarray(line.get_xydata()))]
    assert {tuple(outline.min(axis=0)) for outline in outlines} == {
        (7.5, -0.5), (23.5, 23.5), (15.5, 7.5), (31.5, 31.5),
    }  # fmt: skip
    assert axes.get_xlim() == (-0.5, 63.5)


def test_detections_are_drawn_at_their_sub_pixel_positions() -> None:
    output = measure_output(scene.image(), scene.logits(), target=scene.target())
    axes = draw("detections")
    drawn = scene.markers(axes, "detection (")
    np.testing.assert_allclose(sorted(drawn), sorted(map(tuple, output.points.tolist())), rtol=1e-6)
    assert len(drawn) == 5  # the pixels the network is sure of, see the scene
    assert len(scene.markers(axes, "label point")) == 4


def test_maps_hold_the_measured_values() -> None:
    maps = measure_output(scene.image(), scene.logits(), target=scene.target()).maps
    for panel, values in {
        "probability": maps.probability,
        "dustbin": maps.dustbin,
    }.items():
        np.testing.assert_array_equal(np.asarray(draw(panel).images[-1].get_array()), values)


def test_pixels_of_an_image_are_centred_at_integers() -> None:
    valid = np.ones((6, 8), bool)
    valid[5, 7] = False
    output = measure_output(scene.image()[:44, :60], scene.logits(), valid=valid)
    axes = Figure().subplots()
    PANELS["detections"](axes, output)
    assert axes.get_xlim() == (-0.5, 59.5)
    assert axes.get_ylim() == (43.5, -0.5)
    assert axes.images[1].get_extent() == [-0.5, 63.5, 47.5, -0.5]  # beyond the image, without stretching the axes


def test_rounding_errors_get_no_colours_of_their_own() -> None:
    norm = spread(np.array([1.0, 1.0 + 1e-9]))
    assert norm(1.0) == pytest.approx(0.5, abs=1e-3)
    assert norm(1.0 + 1e-9) == pytest.approx(0.5, abs=1e-3)
    assert (spread([2, 5]).vmin, spread([2, 5]).vmax) == (2, 5)


@pytest.mark.parametrize("kind", MARKERS)
def test_markers(kind: str) -> None:
    axes = Figure().subplots()
    mark(axes, [], kind, "none")
    mark(axes, [[1.5, 2.0], [3, 4]], kind, "two")
    assert [len(np.asarray(one.get_offsets())) for one in axes.collections] == [0, 2]
