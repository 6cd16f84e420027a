from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from superpoint.diagnostics.report.curves import (
    Curve,
    Panel,
    draw_matrix,
    draw_panel,
    extremes,
    moving_mean,
    thin_out,
)

NAN = float("nan")


def lines(svg: str) -> int:
    """Drawn lines: the curves, but also axes and ticks."""
    return sum(1 for element in ET.fromstring(svg).iter() if element.get("id", "").startswith("line2d"))


def test_long_curves_are_averaged_not_cut() -> None:
    x = np.arange(10_000.0)
    y = np.sin(x / 800)
    y[100:120] = np.nan
    steps, values = thin_out(x.tolist(), y.tolist(), 200)
    assert len(steps) == len(values) == 200
    assert values.mean() == pytest.approx(np.nanmean(y), abs=1e-3)
    assert np.isfinite(values).all()
    short = thin_out([1.0, 2.0], [3.0, NAN], 200)
    np.testing.assert_array_equal(short[1], [3.0, np.nan])


def test_a_spike_in_a_long_curve_stays_visible() -> None:
    y = np.ones(10_000)
    y[5000], y[5001], y[:50] = 90.0, -3.0, np.nan
    low, high = extremes(y.tolist(), 200)
    assert len(low) == len(high) == 200
    assert (np.nanmin(low), np.nanmax(high)) == (-3.0, 90.0)
    assert np.isnan(low[0])
    band = Panel("t", "u", [Curve("a", list(range(10_000)), y.tolist(), noisy=True)])
    assert "FillBetweenPolyCollection" in draw_panel(band)
    assert thin_out(range(10_000), y.tolist())[1][200:201] < 90


def test_moving_mean_keeps_gaps_and_levels() -> None:
    values = np.full(100, 2.0)
    values[[10, 99]] = np.nan
    smooth = moving_mean(values)
    np.testing.assert_array_equal(np.isnan(smooth), np.isnan(values))
    np.testing.assert_allclose(smooth[np.isfinite(smooth)], 2.0)
    spike = np.zeros(100)
    spike[50] = 5.0
    assert moving_mean(spike).max() == pytest.approx(1.0)  # 100 / 25 points: a window of 5


def test_svg_is_well_formed_and_the_same_every_time() -> None:
    panel = Panel("Loss", "nats", [Curve("a", [0, 10, 20], [4.0, 1.0, 0.5])], log=True, level=4.17, marks=[10])
    svg = draw_panel(panel)
    assert svg == draw_panel(panel)
    assert ET.fromstring(svg).tag.endswith("svg")
    assert "DOCTYPE" not in svg
    assert lines(svg) == lines(draw_panel(Panel("Loss", "nats", panel.curves, log=True))) + 2  # level and mark


def test_noisy_curves_get_a_mean_over_them() -> None:
    x = list(range(60))
    plain = Curve("a", x, [1.0] * 60)
    counts = [
        lines(draw_panel(Panel("t", "u", [curve])))
        for curve in (plain, Curve("a", x, [1.0] * 60, noisy=True), Curve("a", x, [1.0] * 60, noisy=True, faint=False))
    ]
    assert counts == [counts[0], counts[0] + 1, counts[0]]


@pytest.mark.parametrize(
    ("values", "log"),
    [([4.0, 0.4], True), ([4.0, 3.9], False), ([1.0, 0.0], False), ([NAN, NAN], False), ([], False), ([2.0], False)],
)
def test_logarithmic_only_where_it_helps(values: list[float], log: bool) -> None:
    panel = Panel("t", "u", [Curve("a", list(range(len(values))), values)], log=True)
    assert panel.logarithmic is log
    assert panel.drawn is any(np.isfinite(values))
    draw_panel(panel)  # an empty or a constant curve draws without a warning


def test_names_that_matplotlib_would_read_as_formulas() -> None:
    panel = Panel("t", "a$\\frac$b", [Curve("$\\bad{", [0, 1], [1.0, 2.0])])
    assert "svg" in draw_panel(panel)
    assert "from 1 to 2" in panel.description()
    assert "svg" in draw_matrix(np.ones((1, 2)), ["$x\\"], [0, 100], "$", log=False, name="viridis")


def test_axes_share_an_end() -> None:
    panel = Panel("t", "u", [Curve("a", [50], [1.0])], x_end=1234.0)
    assert panel.last == 1234
    assert "up to 1,234" in panel.description()


def test_no_two_of_twelve_curves_look_alike() -> None:
    looks = {(curve.color, curve.dashes) for curve in (Curve("", [], [], index=index) for index in range(12))}
    assert len(looks) == 12


@pytest.mark.parametrize("log", [True, False])
def test_matrix_with_gaps_constants_and_one_column(log: bool) -> None:
    values = np.array([[1e-3, np.nan, 0.0], [2e-3, 5e-3, -1.0]])
    for matrix, steps in ((values, [0, 100, 200]), (values[:, :1], [0]), (np.full((2, 2), np.nan), [0, 1])):
        svg = draw_matrix(matrix, ["first", "second"], steps, "ratio", log=log, name="viridis")
        assert ET.fromstring(svg).tag.endswith("svg")
