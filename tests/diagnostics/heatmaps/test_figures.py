import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from superpoint.diagnostics.heatmaps.detector_output import measure_output
from superpoint.diagnostics.heatmaps.figures import heatmap_comparison, heatmap_panels
from superpoint.visualize import figure_to_image
from tests.diagnostics import heatmap_scene as scene

SHARED = ["input", "probability", "detections", "dustbin", "range", "logsumexp", "entropy", "mean cell"]


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


def test_wrong_cells_are_numbered_in_the_order_of_the_zooms(labelled: Figure) -> None:
    axes = scene.axes_of(labelled)
    numbers = {one.get_text(): one.xy for one in axes["argmax"].texts}  # type: ignore[attr-defined]
    assert set(numbers) == {"1", "2", "3", "4", "5", "6"}
    wrong = scene.MISSED + scene.FALSE + scene.MISPLACED
    assert {(y, x) for x, y in numbers.values()} == set(wrong)  # these six lose the most
    first = next(text for text in scene.texts_of(labelled) if text.startswith("1  cell row"))
    column, row = numbers["1"]
    assert first.startswith(f"1  cell row {row}, column {column}: ")


def test_readable_at_full_size(labelled: Figure) -> None:
    picture = figure_to_image(labelled)  # a $ in a name starts no formula
    assert picture.shape[1] == 1600
    texts = [one for one in labelled.findobj(Text) if one.get_text() and one.get_visible()]  # type: ignore[attr-defined]
    assert min(float(one.get_fontsize()) for one in texts) >= 8  # type: ignore[attr-defined]
    canvas = labelled.canvas.get_renderer()  # type: ignore[attr-defined]
    for axes in labelled.axes:
        assert axes.get_tightbbox(canvas).x1 <= 1601, axes.get_label()  # type: ignore[union-attr]
    headings = [one.title.get_window_extent(canvas) for one in labelled.axes if one.get_title()]
    assert not any(one.overlaps(labelled._suptitle.get_window_extent(canvas)) for one in headings)  # type: ignore[attr-defined]


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


def test_comparison_has_a_row_for_each_checkpoint_and_colours_in_common() -> None:
    logits = {"run a": scene.logits(), "run b": scene.logits() * 0.2, "run c": scene.logits() + 50}
    outputs = {name: measure_output(scene.image(), said, target=scene.target()) for name, said in logits.items()}
    figure = heatmap_comparison(list(outputs.items()), "three on scene 3")
    said = scene.texts_of(figure)
    assert "three on scene 3" in said
    assert [text for text in said if text.startswith("run ")] == ["run a", "run b", "run c"]
    shown = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert [axes.get_label() for axes in shown] == [
        "probability", "detections", "dustbin", "logsumexp", "argmax",
    ] * 3  # fmt: skip
    for column in (0, 2, 3):
        limits = {axes.images[0].get_clim() for axes in shown[column::5]}
        assert len(limits) == 1
    low, high = shown[3].images[0].get_clim()
    assert low < 10
    assert high > 50


def test_comparison_without_labels() -> None:
    figure = heatmap_comparison([("run a", measure_output(scene.image(), scene.logits()))])
    assert "entropy" in scene.axes_of(figure)
    assert "argmax" not in scene.axes_of(figure)
