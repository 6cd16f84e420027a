import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from superpoint.diagnostics.heatmaps.cell_maps import WorstCell
from superpoint.diagnostics.heatmaps.detector_output import measure_output
from superpoint.diagnostics.heatmaps.zoom import draw_zoom
from superpoint.geometry.cells import DUSTBIN
from superpoint.visualize import SKY, VERMILION, plot_color
from tests.diagnostics import heatmap_scene as scene


def zoom(cell: tuple[int, int], *, labelled: bool = True) -> tuple[dict[str, Axes], str]:
    output = measure_output(scene.image(), scene.logits(), target=scene.target() if labelled else None)
    figure = Figure()
    draw_zoom(figure, output, WorstCell(*cell, "loss 9.00 nats"), 2)
    return scene.axes_of(figure), scene.texts_of(figure)[0]


def test_bars_are_the_65_logits_with_label_and_largest_coloured() -> None:
    axes, title = zoom(scene.MISPLACED[0])
    bars = axes["zoom 2 logits"].patches
    row, column = scene.MISPLACED[0]
    values = scene.logits()[:, row, column].numpy()
    tops = [bar.get_y() + bar.get_height() for bar in bars]  # type: ignore[attr-defined]
    np.testing.assert_allclose(tops, values, rtol=1e-5)
    colors = [to_rgb(bar.get_facecolor()) for bar in bars]
    assert colors[20] == pytest.approx(plot_color(VERMILION))
    assert colors[41] == pytest.approx(plot_color(SKY))
    assert len(set(colors)) == 4  # the other pixels, and the dustbin
    assert title == "2  cell row 1, column 2: misplaced; label 20, argmax 41; loss 9.00 nats"
    assert axes["zoom 2 logits"].get_ylabel() == "logit (nats)"


def test_crops_show_the_cell_with_what_is_about_it() -> None:
    axes, _ = zoom(scene.MISPLACED[0])  # pixels x 16..23, y 8..15
    for name in ("image", "probability"):
        crop = axes[f"zoom 2 {name}"]
        assert crop.get_xlim() == (11.5, 27.5)
        assert crop.get_ylim() == (19.5, 3.5)
        assert scene.markers(crop, "label") == [(16 + 20 % 8, 8 + 20 // 8)]
        assert scene.markers(crop, "largest") == [(16 + 41 % 8, 8 + 41 // 8)]


def test_the_dustbin_has_no_pixel() -> None:
    axes, title = zoom(scene.MISSED[0])
    crop = axes["zoom 2 image"]
    assert [one.get_label() for one in crop.collections] == ["label"]
    assert scene.markers(axes["zoom 2 logits"], "largest")[0][0] == DUSTBIN
    assert "missed; label 20, argmax dustbin" in title


def test_without_labels() -> None:
    axes, title = zoom(scene.FALSE[0], labelled=False)
    assert [one.get_label() for one in axes["zoom 2 image"].collections] == ["largest"]
    assert title == "2  cell row 2, column 5: argmax 41; loss 9.00 nats"
