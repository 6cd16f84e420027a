from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from superpoint.config import SuperPointConfig
from superpoint.diagnostics.report.facts import default_config
from superpoint.diagnostics.report.page import Section
from superpoint.diagnostics.report.pictures import DescriptorPictures, Output, Picture, RunPictures, Subject
from superpoint.diagnostics.report.record import RunRecord
from superpoint.diagnostics.report.sections import detector_sections, diagnosis, is_joint
from superpoint.visualize import save_image
from tests.diagnostics.report.made_up import Outline, bare, record, render

BLACK = np.zeros((16, 16, 3), np.uint8)
RESULT: dict[str, Any] = {"detector": "network", "variant": "clean", "images": 1, "primitives": {}, "curves": {}}


def sections(*records: RunRecord, **pictures: Any) -> dict[str, Section]:
    given = {one.label: RunPictures(**pictures) for one in records}
    return {section.name: section for section in detector_sections(records, given)}


def test_a_joint_run_has_a_section_about_descriptors() -> None:
    figures = {"pairs/correct@1": 0.25, "pairs/matches": 120.4, "viewpoint/correct@1": 0.5}
    joint = bare(config=default_config(SuperPointConfig), pairs={"network": figures, "sift": figures})
    found = DescriptorPictures(np.array([0.9, 0.8]), np.array([0.1, -0.2]), [Picture("pair", BLACK)], ["A note."])
    assert is_joint(joint)
    content = sections(joint, descriptors=found)["descriptors"].content
    assert [panel.title for panel in content.panels[""]] == ["Angles between descriptors"]
    assert [picture.title for picture in content.figures] == ["pair"]
    assert content.notes == ["A note."]
    rows = content.tables[0].rows
    assert [row[0] for row in rows] == [
        "network, all pairs",
        "network, viewpoint",
        "sift, all pairs",
        "sift, viewpoint",
    ]
    assert (rows[0][1], rows[0][2], rows[0][-1]) == ("0.250", "-", "120")
    assert not is_joint(bare())
    assert "descriptors" not in sections(bare())


def test_an_evaluation_of_another_version_is_no_error() -> None:
    strange = bare(evaluation=[RESULT | {"pooled": {"4": {}}, "mean_ap": {}}])
    assert Outline(render(strange)).says("evaluation/synthetic.json cannot be read")
    assert Outline(render(strange, bare("b"))).says("run: evaluation/synthetic.json cannot be read")


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
    assert sections(damaged)["curves"].content.notes[0] == "run: 1 damaged line of metrics.jsonl left out."


def test_heatmaps_and_statistics_by_subject_or_by_run() -> None:
    outputs = [
        Output(Subject(name, BLACK[..., 0]), [Picture(kind, BLACK) for kind in "abcd"], "facts", None)  # type: ignore[arg-type]
        for name in ("one", "two")
    ]
    pictures = RunPictures("best.ckpt, step 7", outputs, {"scenes": {"dustbin": 0.25, "unknown": 1.0}})
    page = Outline(render(bare(), pictures=pictures))
    assert page.says("Weights: best.ckpt, step 7.")
    assert sum(str(image["alt"]).startswith("one: ") for image in page.images) == 4
    assert page.says("mean probability of the dustbin0.25")
    pair = Outline(render(bare(), bare("other"), pictures=pictures))
    assert len(pair.images) == 16
    assert sum(str(image["alt"]).startswith("other: ") for image in pair.images) == 8
    assert pair.says("other, scenes")


def test_curves_of_nothing_say_why() -> None:
    none = record(history=[], missing={"metrics.jsonl": "metrics.jsonl is missing."})
    content = sections(none)["curves"].content
    assert (content.panels, content.notes) == ({}, ["metrics.jsonl is missing."])
