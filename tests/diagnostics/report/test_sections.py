from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from superpoint.config import SuperPointConfig, dump_config
from superpoint.diagnostics.heatmaps.detector_output import Subject
from superpoint.diagnostics.report import network
from superpoint.diagnostics.report.facts import default_config
from superpoint.diagnostics.report.network import descriptor_section
from superpoint.diagnostics.report.panels import training_panels
from superpoint.diagnostics.report.record import RunRecord
from superpoint.diagnostics.report.sections import curves_section, diagnosis
from superpoint.visualize import save_image
from tests.diagnostics.report.made_up import Outline, bare, record, render
from tests.diagnostics.report.test_pictures import Planted

BLACK = np.zeros((16, 16, 3), np.uint8)
RESULT: dict[str, Any] = {"detector": "network", "variant": "clean", "images": 1, "primitives": {}, "curves": {}}


def test_a_joint_run_has_a_section_about_descriptors(tmp_path: Path) -> None:
    figures = {"pairs/correct@1": 0.25, "pairs/matches": 120.4, "viewpoint/correct@1": 0.5}
    joint = bare(config=default_config(SuperPointConfig), pairs={"network": figures, "sift": figures})
    notes = descriptor_section(joint).content.notes
    assert notes[-2].startswith("No descriptors of training pairs: ")
    assert notes[-1].startswith("No table of generated pairs: ")
    joint = replace(joint, path=tmp_path)
    (tmp_path / "config.yaml").write_text(dump_config(SuperPointConfig()))
    content = descriptor_section(joint).content
    assert content.panels == {}
    rows = content.tables[0].rows
    kinds = ("all", "viewpoint", "photometric")
    assert [row[0] for row in rows] == [f"{name}, {kind}" for name in ("network", "sift") for kind in kinds]
    assert (rows[0][1], rows[0][2], rows[0][-1]) == ("0.250", "-", "120")
    assert "descriptors" in Outline(render(joint)).values("id")
    assert "descriptors" not in Outline(render(bare())).values("id")


def test_an_evaluation_of_another_version_is_no_error() -> None:
    strange = bare(evaluation=[RESULT | {"pooled": {"4": {}}, "mean_ap": {}}])
    assert Outline(render(strange)).says("evaluation/synthetic.json cannot be read")


def test_damaged_pictures_and_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "doctor").mkdir()
    place = tmp_path / "doctor" / "lr_finder.png"
    one = RunRecord(tmp_path, "run", findings={"findings": []})
    assert diagnosis(one).content["figures"] == []
    place.write_text("no PNG")
    assert "lr_finder.png" in diagnosis(one).content["notes"][0]
    save_image(place, BLACK)
    (picture,) = diagnosis(one).content["figures"]
    assert picture.uri.startswith("data:image/png")
    damaged = bare()
    damaged.history.damaged.append(3)
    notes = curves_section(training_panels(damaged), damaged).content.notes
    assert notes[0] == "1 damaged line of metrics.jsonl left out."


def test_heatmaps_by_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = [Subject(name, BLACK[..., 0]) for name in ("one", "two")]
    planted = SimpleNamespace(model=Planted().eval(), name="run (best.ckpt), step 7")
    monkeypatch.setattr(network, "load_checkpoint", lambda path: planted)
    monkeypatch.setattr(network, "draw_subjects", lambda record, notes: subjects)
    page = Outline(render(bare()))
    assert page.says("Weights: run (best.ckpt), step 7.")
    assert sum(str(image["alt"]).startswith("one: ") for image in page.images) == 4


def test_curves_of_nothing_say_why() -> None:
    none = record(history=[], missing={"metrics.jsonl": "metrics.jsonl is missing."})
    content = curves_section(training_panels(none), none).content
    assert (content.panels, content.notes) == ({}, ["metrics.jsonl is missing."])
