import re

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from superpoint.diagnostics.heatmaps.cell_maps import WorstCell
from superpoint.diagnostics.heatmaps.detector_output import measure_output
from superpoint.diagnostics.heatmaps.figures import draw_zoom, heatmap_panels
from superpoint.geometry.cells import DUSTBIN
from superpoint.visualize import SKY, VERMILION, figure_to_image, plot_color
from tests.diagnostics import heatmap_scene as scene

SHARED = ["probability", "detections", "dustbin", "logsumexp"]


@pytest.fixture(scope="module")
def labelled() -> Figure:
    output = measure_output(scene.image(), scene.logits(), target=scene.target())
    return heatmap_panels(output, "$run x, step 7$ on scene 3")


def test_panels_with_labels(labelled: Figure) -> None:
    axes = scene.axes_of(labelled)
    assert {name for name in axes if not name.startswith("zoom")} == {*SHARED, "label", "argmax"}
    assert len([name for name in axes if name.startswith("zoom")]) == 6 * 3  # image, probability and logits
    for name, panel in axes.items():
        assert panel.get_xlabel(), name
        if not name.startswith("zoom"):
            assert panel.get_ylabel(), name
            assert panel.get_title(loc="left"), name
    said = "\n".join(scene.texts_of(labelled))
    for words in ("run x, step 7", "image 64 x 48 px, 8 x 6 cells", "dustbin mean", "largest loss"):
        assert words in said


def test_panels_without_labels() -> None:
    axes = scene.axes_of(heatmap_panels(measure_output(scene.image(), scene.logits()), worst=4))
    assert {name for name in axes if not name.startswith("zoom")} == set(SHARED)
    assert len([name for name in axes if name.startswith("zoom")]) == 4 * 3


def test_the_wrong_cells_are_enlarged(labelled: Figure) -> None:
    zooms = [text for text in scene.texts_of(labelled) if "cell row" in text]
    cells = {tuple(map(int, re.findall(r"(?:row|column) (\d+)", text))) for text in zooms}
    assert cells == set(scene.MISSED + scene.FALSE + scene.MISPLACED)  # these six lose the most


def test_readable_at_full_size(labelled: Figure) -> None:
    picture = figure_to_image(labelled)  # a $ in a name starts no formula
    assert picture.shape[1] == 1600
    texts = [one for one in labelled.findobj(Text) if one.get_text() and one.get_visible()]  # type: ignore[attr-defined]
    assert min(float(one.get_fontsize()) for one in texts) >= 8  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [(1, 1), (5, 90), (90, 5), (50, 43)])
@pytest.mark.parametrize("points", [None, [[0.0, 0.0]]])
def test_any_size(size: tuple[int, int], points: list[list[float]] | None) -> None:
    image = np.zeros(size, np.uint8)
    logits = torch.zeros(65, -(-size[0] // 8), -(-size[1] // 8))
    figure = heatmap_panels(measure_output(image, logits, points), worst=1)
    shown = scene.axes_of(figure)["probability"].images[0].get_array()
    assert shown is not None
    assert shown.shape == size
    figure_to_image(figure)


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
