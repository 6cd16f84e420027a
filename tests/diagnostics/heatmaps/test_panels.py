from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from superpoint.diagnostics.heatmaps.detector_output import measure_output
from superpoint.diagnostics.heatmaps.layout import Page
from superpoint.diagnostics.heatmaps.panels import (
    Panel,
    detection_panel,
    dustbin_panel,
    label_panel,
    mean_cell_panel,
    probability_panel,
    verdict_panel,
)
from superpoint.geometry.cells import DUSTBIN
from tests.diagnostics import heatmap_scene as scene

POINTS = [[12.0, 2.0], [28.2, 26.4], [20.0, 10.0], [36.0, 34.0]]


def draw(panel: Panel, valid: np.ndarray | None = None, points: list[list[float]] | None = None) -> Axes:
    target = None if points else scene.target()
    output = measure_output(scene.image(), scene.logits(), points, target, valid)
    return panel(Page(400, 400), (0, 0, 400, 380), output, None)


def test_marked_cells_are_the_planted_ones() -> None:
    axes = draw(verdict_panel)
    planted = {"missed": scene.MISSED, "false": scene.FALSE, "misplaced": scene.MISPLACED, "as labelled": scene.RIGHT}
    for name, cells in planted.items():
        assert markers_as_cells(axes, name) == sorted(cells), name
    assert axes.get_title(loc="left") == "argmax vs label: 6 of 48 wrong"
    assert any(str(one.get_label()) == "misplaced (1, 4.2 px)" for one in axes.collections)
    assert axes.get_xlim() == (-0.5, 7.5)
    assert axes.get_ylim() == (5.5, -0.5)


def test_kinds_of_wrong_cells_differ_in_shape() -> None:
    shapes = [one.get_paths()[0].vertices for one in draw(verdict_panel).collections]
    assert len(shapes) == 4
    assert len({np.asarray(shape).tobytes() for shape in shapes}) == 4


def test_cells_that_are_not_valid_are_not_marked_but_darkened() -> None:
    valid = np.ones((6, 8), bool)
    valid[scene.MISSED[0]] = False
    axes = draw(verdict_panel, valid)
    assert markers_as_cells(axes, "missed") == [scene.MISSED[1]]
    veil = np.asarray(axes.images[-1].get_array())
    assert veil.shape == (6, 8, 4)
    assert np.argwhere(veil[..., 3] > 0).tolist() == [list(scene.MISSED[0])]


def markers_as_cells(axes: Axes, name: str) -> list[tuple[int, int]]:
    return sorted((int(y), int(x)) for x, y in scene.markers(axes, name))


def test_labels_are_drawn_where_they_are_and_their_cells_outlined() -> None:
    axes = draw(label_panel, points=POINTS)
    np.testing.assert_allclose(scene.markers(axes, "label point"), POINTS, rtol=1e-6)
    outlines = [np.asarray(line.get_xydata()) for line in axes.lines if len(np.asarray(line.get_xydata()))]
    assert {tuple(outline.min(axis=0)) for outline in outlines} == {
        (7.5, -0.5), (23.5, 23.5), (15.5, 7.5), (31.5, 31.5),
    }  # fmt: skip
    assert axes.get_xlim() == (-0.5, 63.5)


def test_detections_are_drawn_at_their_sub_pixel_places() -> None:
    output = measure_output(scene.image(), scene.logits(), target=scene.target())
    axes = detection_panel(Page(400, 400), (0, 0, 400, 380), output, None)
    drawn = scene.markers(axes, "detection (")
    np.testing.assert_allclose(sorted(drawn), sorted(map(tuple, output.points.tolist())), rtol=1e-6)
    assert len(drawn) == 5  # the pixels the network is sure of, see the scene
    assert len(scene.markers(axes, "label point")) == 4


def test_maps_hold_the_measured_values() -> None:
    output = measure_output(scene.image(), scene.logits(), target=scene.target())
    pairs = [
        (probability_panel, output.maps.probability),
        (dustbin_panel, output.maps.dustbin),
        (mean_cell_panel, output.maps.mean_cell()),
    ]
    for panel, values in pairs:
        axes = panel(Page(400, 400), (0, 0, 400, 380), output, None)
        np.testing.assert_array_equal(np.asarray(axes.images[0].get_array()), values)
    assert DUSTBIN == 64
