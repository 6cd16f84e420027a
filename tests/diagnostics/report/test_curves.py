import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from superpoint.diagnostics.report.curves import Curve, Panel, groups

NAN = float("nan")


def axes(panel: Panel) -> Axes:
    figure = Figure()
    panel.draw(figure)
    return figure.axes[0]


def test_long_curves_are_averaged_not_cut() -> None:
    y = np.sin(np.arange(9_990.0) / 800)
    y[100:120] = np.nan
    grouped = groups(y, 50)
    assert grouped.shape == (200, 50)
    assert grouped.mean() == pytest.approx(np.nanmean(y))
    (drawn,) = axes(Panel("t", "u", [Curve("a", list(range(9_990)), y.tolist())])).get_lines()
    assert 40 < len(np.asarray(drawn.get_ydata())) <= 80


def test_a_spike_in_a_long_curve_stays_visible() -> None:
    y = np.ones(10_000)
    y[5000], y[5001], y[:200] = 90.0, -3.0, NAN
    drawn = axes(Panel("t", "u", [Curve("a", list(range(10_000)), y.tolist())]))
    (band,) = drawn.collections
    extent = np.concatenate([path.vertices for path in band.get_paths()])[:, 1]
    assert (extent.min(), extent.max()) == (-3.0, 90.0)
    assert np.nanmax(drawn.get_lines()[0].get_ydata()) < 90


def test_svg_is_well_formed_and_the_same_every_time() -> None:
    panel = Panel("Loss", "nats", [Curve("a", [0, 10, 20], [4.0, 1.0, 0.5])], log=True, level=4.17, marks=[10])
    assert panel.svg() == panel.svg()
    assert ET.fromstring(panel.svg()).tag.endswith("svg")
    assert len(axes(panel).get_lines()) == 3  # curve, level and mark
    assert panel.uri.startswith("data:image/svg+xml;base64,")


@pytest.mark.parametrize(
    ("values", "log"),
    [([4.0, 0.4], True), ([4.0, 3.9], False), ([1.0, 0.0], False), ([NAN, NAN], False), ([], False), ([2.0], False)],
)
def test_logarithmic_only_where_it_helps(values: list[float], log: bool) -> None:
    panel = Panel("t", "u", [Curve("a", list(range(len(values))), values)], log=True)
    assert panel.logarithmic is log
    assert bool(panel.shown) == (sum(map(np.isfinite, values)) > 1)  # a single value shows no course
    panel.svg()  # an empty or a constant curve draws without a warning


def test_names_that_matplotlib_would_read_as_formulas() -> None:
    panel = Panel("t", "a$\\frac$b", [Curve("$\\bad{", [0, 1], [1.0, 2.0])])
    assert "svg" in panel.svg()
    assert "from 1 to 2" in panel.alt


def test_no_two_of_twelve_curves_look_alike() -> None:
    looks = {(curve.color, curve.dashes) for curve in (Curve("", [], [], index=index) for index in range(12))}
    assert len(looks) == 12
