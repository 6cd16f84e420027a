import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from superpoint.diagnostics.heatmaps.detector_output import measure_output
from superpoint.diagnostics.heatmaps.figures import heatmap_panels
from superpoint.visualize import figure_to_image
from tests.diagnostics import heatmap_scene as scene

SHARED = ["probability", "detections", "dustbin", "logsumexp"]


@pytest.fixture(scope="module")
def labelled() -> Figure:
    output = measure_output(scene.image(), scene.logits(), target=scene.target())
    return heatmap_panels(output, "$run x, step 7$ on scene 3")


def test_panels_with_labels(labelled: Figure) -> None:
    axes = scene.axes_of(labelled)
    assert set(axes) == {*SHARED, "label", "argmax"}
    for name, panel in axes.items():
        assert panel.get_xlabel(), name
        assert panel.get_ylabel(), name
        assert panel.get_title(loc="left"), name
    said = "\n".join(scene.texts_of(labelled))
    for words in ("run x, step 7", "image 64 x 48 px, 8 x 6 cells", "dustbin mean"):
        assert words in said


def test_panels_without_labels() -> None:
    axes = scene.axes_of(heatmap_panels(measure_output(scene.image(), scene.logits())))
    assert set(axes) == set(SHARED)


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
    figure = heatmap_panels(measure_output(image, logits, points))
    shown = scene.axes_of(figure)["probability"].images[0].get_array()
    assert shown is not None
    assert shown.shape == size
    figure_to_image(figure)
