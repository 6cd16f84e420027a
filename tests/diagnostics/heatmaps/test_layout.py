from __future__ import annotations

import numpy as np
import pytest

from superpoint.diagnostics.heatmaps.layout import MARKERS, Page, mark, shade_cells, show_image, spread
from superpoint.visualize import figure_to_image


def test_places_are_pixels_from_the_top_left() -> None:
    page = Page(200, 100)
    axes = page.axes(40, 10, 80, 30, "box")
    axes.set(facecolor="black", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    picture = figure_to_image(page.figure)
    assert picture.shape == (100, 200, 3)
    dark = np.argwhere(picture[..., 0] < 128)
    assert dark.min(axis=0).tolist() == [10, 40]
    assert dark.max(axis=0).tolist() == [39, 119]


def test_pixels_of_an_image_are_centred_at_integers() -> None:
    axes = Page(100, 100).axes(10, 10, 80, 80, "image")
    show_image(axes, np.zeros((6, 9), np.uint8))
    shade_cells(axes, np.ones((1, 2), bool), 8)  # reaches beyond the image and must not stretch the axes
    assert axes.get_xlim() == (-0.5, 8.5)
    assert axes.get_ylim() == (5.5, -0.5)
    assert axes.images[1].get_extent() == pytest.approx((-0.5, 15.5, 7.5, -0.5))


def test_rounding_errors_get_no_colours_of_their_own() -> None:
    norm = spread(np.array([1.0, 1.0 + 1e-9]))
    assert norm(1.0) == pytest.approx(0.5, abs=1e-3)
    assert norm(1.0 + 1e-9) == pytest.approx(0.5, abs=1e-3)
    assert (spread([2, 5]).vmin, spread([2, 5]).vmax) == (2, 5)


@pytest.mark.parametrize("kind", MARKERS)
def test_markers(kind: str) -> None:
    axes = Page(100, 100).axes(10, 10, 80, 80, "image")
    mark(axes, [], kind, "none")
    mark(axes, [[1.5, 2.0], [3, 4]], kind, "two")
    assert [len(np.asarray(one.get_offsets())) for one in axes.collections] == [0, 2]
