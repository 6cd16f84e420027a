from typing import Any

import numpy as np
import pytest

from superpoint.config import SuperPointConfig
from superpoint.diagnostics.report.facts import default_config
from superpoint.diagnostics.report.panels import (
    descriptor_panels,
    layer_panels,
    probe_panels,
    training_panels,
)
from tests.diagnostics.report.made_up import lines, probe_line, record


def joint_lines() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for step in range(20, 121, 20):
        parts = {"loss": 4.0, "detector_loss": 2.0, "descriptor_loss": 2.0 - step / 100, "position_loss": 0.8}
        similarity = {"positive_similarity": 0.8, "negative_similarity": 0.1, "hardest_negative": 0.6, "collapse": 0.05}
        found.append({"step": step, "event": "train", **parts, **similarity, "matching_accuracy": step / 200})
    held_out = {"detector_loss": 2.1, "descriptor_loss": 1.2, "matching_accuracy": 0.5, "selected_by": "AP", "AP": 0.25}
    figures = {f"pairs/{name}@1": 0.25 for name in ("correct", "mma", "repeatability")}
    return [*found, {"step": 120, "event": "validate", **held_out, **figures}]


def test_a_run_that_broke_marks_the_step() -> None:
    broken = {"step": 61, "event": "nonfinite", "loss": None}
    assert training_panels(record(history=[*lines()[:-1], broken]))[0].marks == [61]


def test_probe_lines_become_layers_and_curves() -> None:
    probed = record(history=[probe_line(step) for step in (0, 20, 40)])
    panels = [panel for panel in layer_panels(probed) if panel.shown]
    assert [each.title for each in panels] == ["Update ratio", "Dead channels"]
    assert [curve.name for curve in panels[0].curves] == ["encoder.0", "detector"]
    np.testing.assert_allclose([curve.y for curve in panels[0].curves], [[0.001, 0.021, 0.041], [0.002] * 3])
    assert [panel.curves[0].y for panel in probe_panels(probed) if panel.shown][1] == [0.0, 20.0, 40.0]
    strange = record(history=[{"step": 0, "event": "probe", "layers": [1], "output": None}])
    assert not any(panel.shown for panel in layer_panels(strange))
    assert not any(panel.shown for panel in probe_panels(strange))


def test_descriptor_curves_are_those_of_the_log() -> None:
    joint = record(history=joint_lines(), config=default_config(SuperPointConfig))
    panels = {panel.title: panel for panel in descriptor_panels(joint)}
    once = {title for title, panel in panels.items() if not panel.shown}
    assert once == {"Homographies of generated pairs", "Matches and keypoints of generated pairs"}  # of one validation
    assert all(panel.healthy for panel in panels.values())
    losses = {curve.name: curve for curve in panels["Both parts of the loss"].curves}
    assert losses["descriptor"].ends == pytest.approx((1.8, 0.8))
    assert losses["descriptor, held-out pairs"].ends == (1.2, 1.2)
    assert len({curve.index for curve in losses.values()}) == 4  # told apart by colour and dashes
    assert panels["Matching accuracy"].curves[0].ends == pytest.approx((0.1, 0.6))
    assert panels["Homographies of generated pairs"].marks == [120]
    assert training_panels(joint)[0].unit == "loss of both parts"
