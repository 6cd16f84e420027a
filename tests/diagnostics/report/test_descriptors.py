"""The report's section about descriptors: what it shows, and that other runs do not have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superpoint.config import SuperPointConfig, dump_config
from superpoint.diagnostics.report import render_report
from superpoint.diagnostics.report.descriptors import (
    descriptor_panels,
    descriptor_section,
    is_joint,
    pair_tables,
    similarity_panel,
)
from superpoint.diagnostics.report.panels import training_panels
from superpoint.diagnostics.report.pictures import DescriptorPictures, RunPictures
from superpoint.diagnostics.report.record import RunRecord, default_config

FIGURES = {
    f"{kind}/{key}": 0.25
    for kind in ("pairs", "viewpoint")
    for key in ("correct@1", "correct@3", "correct@5", "auc@5", "mma@1", "mma@3", "repeatability@1", "repeatability@3")
}


def history() -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(20, 121, 20):
        parts = {"loss": 4.0, "detector_loss": 2.0, "descriptor_loss": 2.0 - step / 100, "position_loss": 0.8}
        similarity = {"positive_similarity": 0.8, "negative_similarity": 0.1, "hardest_negative": 0.6, "collapse": 0.05}
        lines.append({"step": step, "event": "train", **parts, **similarity, "matching_accuracy": step / 200})
    held_out = {
        "detector_loss": 2.1,
        "descriptor_loss": 1.2,
        "matching_accuracy": 0.5,
        "selected_by": "AP",
        "AP": 0.25,
        **FIGURES,
    }
    return [*lines, {"step": 120, "event": "validate", **held_out}]


def record(path: Path, **fields: Any) -> RunRecord:
    config = default_config({"stage": "train-superpoint"})
    assert config["descriptor.name"] == "dual_softmax"
    assert "descriptor:" in dump_config(SuperPointConfig())
    return RunRecord(path=path, label="run", history=history(), config=config, written=1000.0, **fields)


def test_section_of_a_joint_run(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    results = {"network": FIGURES | {"pairs/matches": 120.4}, "sift": FIGURES}
    (tmp_path / "evaluation/generated_pairs.json").write_text(json.dumps(results))
    pictures = [("Training pair <1>", np.zeros((20, 30, 3), np.uint8))]
    found = DescriptorPictures(np.array([0.9, 0.8]), np.array([0.1, -0.2]), pictures, ["A note."])
    one = record(tmp_path)
    text = descriptor_section(one, found)
    for words in (
        "Both parts of the loss", "Points of both views",
        "Matching accuracy", "Homographies of generated pairs", "Angles between descriptors",
        "Training pair &lt;1&gt;", "A note.", "network, all pairs", "sift, viewpoint", "0.250", "120",
    ):  # fmt: skip
        assert words in text, words
    page = render_report([one], {"run": RunPictures(notes=["none"], descriptors=found)}, 2000.0)
    assert 'id="descriptors"' in page
    assert page.index('id="curves"') < page.index('id="descriptors"') < page.index('id="inside"')


def test_other_runs_have_no_such_section(tmp_path: Path) -> None:
    plain = RunRecord(path=tmp_path, label="run", history=[], config=default_config(), written=1000.0)
    assert not is_joint(plain)
    assert is_joint(record(tmp_path))
    assert 'id="descriptors"' not in render_report([plain], {"run": RunPictures(notes=["none"])}, 2000.0)


def test_curves_are_those_of_the_log(tmp_path: Path) -> None:
    one = record(tmp_path)
    panels = {panel.title: panel for panel in descriptor_panels(one)}
    assert all(panel.drawn for panel in panels.values())
    losses = {curve.name: curve for curve in panels["Both parts of the loss"].curves}
    assert losses["descriptor"].ends() == pytest.approx((1.8, 0.8))
    assert losses["descriptor, held-out pairs"].ends() == (1.2, 1.2)
    assert len({curve.index for curve in losses.values()}) == 4  # told apart by colour and dashes
    assert panels["Matching accuracy"].curves[0].ends() == pytest.approx((0.1, 0.6))
    assert panels["Homographies of generated pairs"].marks == [120]
    assert training_panels([one])[0].unit == "loss of both parts"


def test_histogram_of_angles() -> None:
    panel = similarity_panel(DescriptorPictures(np.array([1.0, 1.0, 0.48, np.nan]), np.array([0.0, -1.0])))
    same, other = panel.curves
    assert sum(same.y) == pytest.approx(1)
    assert same.y[0] == pytest.approx(2 / 3)  # 0 degrees
    assert same.y[list(same.x).index(64)] == pytest.approx(1 / 3)  # 61 degrees
    assert other.y[-1] == 0.5  # 180 degrees
    assert not similarity_panel(DescriptorPictures()).drawn


@pytest.mark.parametrize("content", ["not json", "[1]", '{"network": 3}'])
def test_damaged_results_are_a_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/generated_pairs.json").write_text(content)
    (shown,) = pair_tables(record(tmp_path))
    assert "cannot be read" in shown
