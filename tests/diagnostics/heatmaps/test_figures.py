from __future__ import annotations

import cv2
import matplotlib.text
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from superpoint.data.images import sample_photographs
from superpoint.diagnostics.heatmaps import heatmap_comparison, heatmap_panels, heatmap_row
from superpoint.errors import UserError
from superpoint.visualize import figure_to_image
from tests.diagnostics import heatmap_scene as scene

SHARED = ["input", "probability", "detections", "dustbin", "range", "logsumexp", "entropy", "mean cell"]


def texts(figure: Figure) -> list[matplotlib.text.Text]:
    return [one for one in figure.findobj(matplotlib.text.Text) if one.get_text()]


def panels(figure: Figure) -> set[str]:
    return {name for name in scene.axes_of(figure) if not name.startswith(("colour bar", "zoom"))}


@pytest.fixture(scope="module")
def labelled() -> Figure:
    return heatmap_panels(scene.image(), scene.logits(), target=scene.target(), title="run x, step 7 on scene 3")


def test_panels_with_labels(labelled: Figure) -> None:
    assert panels(labelled) == {*SHARED, "label", "argmax"}
    zooms = [name for name in scene.axes_of(labelled) if name.startswith("zoom")]
    assert len(zooms) == 6 * 3  # image, probability and logits of six cells
    said = {one.get_text() for one in labelled.texts}
    assert "run x, step 7 on scene 3" in said
    assert any("image 64 x 48 px, 8 x 6 cells" in text for text in said)
    assert any("dustbin mean" in text and "cell pattern" in text for text in said)
    assert any("largest loss" in text for text in said)


def test_panels_without_labels() -> None:
    figure = heatmap_panels(scene.image(), scene.logits(), worst=4)
    assert panels(figure) == set(SHARED)
    assert any("No labels: the most uncertain cells" in one.get_text() for one in figure.texts)
    assert len([name for name in scene.axes_of(figure) if name.startswith("zoom")]) == 4 * 3


def test_every_axis_has_a_name_and_every_panel_a_title(labelled: Figure) -> None:
    for name, axes in scene.axes_of(labelled).items():
        assert axes.get_xlabel(), name
        if name.startswith(("colour bar", "zoom")):
            continue
        assert axes.get_ylabel(), name
        assert axes.get_title(loc="left"), name
    for name in ("probability", "detections", "dustbin", "range", "logsumexp", "entropy", "mean cell"):
        assert f"colour bar: {name}" in scene.axes_of(labelled)


def test_wrong_cells_are_numbered_in_the_order_of_the_zooms(labelled: Figure) -> None:
    axes = scene.axes_of(labelled)
    numbers = {one.get_text(): one.xy for one in axes["argmax"].texts}  # type: ignore[attr-defined]
    assert set(numbers) == {"1", "2", "3", "4", "5", "6"}
    wrong = scene.MISSED + scene.FALSE + scene.MISPLACED
    assert {(y, x) for x, y in numbers.values()} == set(wrong)  # these six lose the most
    first = next(one.get_text() for one in labelled.texts if one.get_text().startswith("1  cell row"))
    column, row = numbers["1"]
    assert first.startswith(f"1  cell row {row}, column {column}: ")


def test_readable_at_full_size(labelled: Figure) -> None:
    picture = figure_to_image(labelled)
    assert picture.shape[1] == 1600
    assert min(float(one.get_fontsize()) for one in texts(labelled)) >= 8
    canvas = labelled.canvas.get_renderer()  # type: ignore[attr-defined]
    for one in texts(labelled):
        if one.get_visible() and (one in labelled.texts or "legend" in str(one.axes)):
            assert one.get_window_extent(canvas).x1 <= 1600, one.get_text()
    for axes in labelled.axes:
        assert axes.get_tightbbox(canvas).x1 <= 1601, axes.get_label()  # type: ignore[union-attr]


def test_a_dollar_in_a_name_starts_no_formula() -> None:
    figure = heatmap_panels(scene.image(), scene.logits(), title="$\\nonsense$ _x_$", worst=0)
    assert figure_to_image(figure).shape[1] == 1600


@pytest.mark.parametrize("size", [(1, 1), (5, 90), (90, 5), (50, 43)])
@pytest.mark.parametrize("points", [None, [[0.0, 0.0]]])
def test_any_size(size: tuple[int, int], points: list[list[float]] | None) -> None:
    image = np.zeros(size, np.uint8)
    logits = torch.zeros(65, -(-size[0] // 8), -(-size[1] // 8))
    figure = heatmap_panels(image, logits, points=points, worst=1)
    shown = scene.axes_of(figure)["probability"].images[0].get_array()
    assert shown is not None
    assert shown.shape == size
    assert heatmap_row(image, logits, points=points).ndim == 3


def test_comparison_has_a_row_for_each_checkpoint_and_colours_in_common() -> None:
    weak = scene.logits() * 0.2
    outputs = [("run a", scene.logits()), ("run b", weak), ("run c", scene.logits() + 50)]
    figure = heatmap_comparison(scene.image(), outputs, target=scene.target(), title="three on scene 3")
    said = [one.get_text() for one in figure.texts]
    assert said[0] == "three on scene 3"
    assert [text for text in said if text.startswith("run ")] == ["run a", "run b", "run c"]
    shown = [axes for axes in figure.axes if not str(axes.get_label()).startswith("colour bar")]
    assert [axes.get_label() for axes in shown] == [
        "probability", "detections", "dustbin", "logsumexp", "argmax",
    ] * 3  # fmt: skip
    for column in (0, 2, 3):
        limits = {axes.images[0].get_clim() for axes in shown[column::5]}
        assert len(limits) == 1
    low, high = shown[3].images[0].get_clim()
    assert low < 10
    assert high > 50


def test_comparison_without_labels_and_without_outputs() -> None:
    figure = heatmap_comparison(scene.image(), [("run a", scene.logits())])
    assert "entropy" in scene.axes_of(figure)
    assert "argmax" not in scene.axes_of(figure)
    with pytest.raises(ValueError, match="outputs: found none"):
        heatmap_comparison(scene.image(), [])


class TestRow:
    def test_four_pictures_enlarged_by_whole_pixels(self) -> None:
        row = heatmap_row(scene.image(), scene.logits(), target=scene.target())
        assert row.dtype == np.uint8
        assert row.shape == (48 * 5 + 24, 4 * (64 * 5 + 4) + 4, 3)

    def test_a_photograph_is_shrunk_and_its_peaks_stay(self) -> None:
        image = np.full((480, 640), 128, np.uint8)
        logits = torch.zeros(65, 60, 80)
        logits[64] = 9.0
        logits[8 * 3 + 5, 20, 40] = 14.0  # the pixel (325, 163)
        row = heatmap_row(image, logits)
        assert row.shape == (240 + 24, 4 * 324 + 4, 3)
        heat = row[20 : 20 + 240, 328 : 328 + 320].astype(int)
        y, x = np.unravel_index((heat[..., 0] + heat[..., 1]).argmax(), heat.shape[:2])
        assert (abs(x - 325 / 2), abs(y - 163 / 2)) <= (1.5, 1.5)

    def test_small_enough_for_a_page(self) -> None:
        rgb = dict(sample_photographs())["motorcycle_left"]  # of the photographs the richest in detail
        image = np.asarray(cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (320, 216)), np.uint8)
        logits = torch.randn(65, 27, 40, generator=torch.Generator().manual_seed(0))
        logits[64] = 4.0
        row = heatmap_row(image, logits)
        _, data = cv2.imencode(".jpg", row[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
        assert len(data) < 150_000


def test_output_that_is_not_finite() -> None:
    broken = scene.logits()
    broken[0, 0, 0] = float("nan")
    for draw in (heatmap_panels, heatmap_row):
        with pytest.raises(UserError, match="found NaN or infinity"):
            draw(scene.image(), broken)
