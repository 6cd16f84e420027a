"""The page as a whole: what it shows of a run, whatever the run folder holds. Browsers: tests/stages/test_report.py."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from superpoint.diagnostics.report import render_report
from superpoint.diagnostics.report.panels import layer_maps, probe_panels, training_panels
from superpoint.diagnostics.report.pictures import RunPictures, Subject, fit_cells, show_output, shrink
from superpoint.diagnostics.report.record import RunRecord, default_config
from superpoint.errors import UserError

EVIL = "<script>alert(1)</script>"
NOW = 2000.0


def history(steps: int = 60) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [{"step": 0, "event": "initial_loss", "loss": 4.18, "expected": 4.174}]
    for step in range(1, steps + 1):
        values = {"loss": 4.0 / step, "lr": 1e-3, "grad_norm": 1.0, "dustbin": 0.9, "positive_recall": step / steps}
        lines.append({"step": step, "event": "train", **values, "img_per_s": 50.0, "data_wait": 0.1, "elapsed": step})
    for step in (steps // 2, steps):
        scores = {"clean/ap@2": 0.5, "clean/ap@4": 0.6 + step / 1000, "clean/localisation@4": 0.7}
        lines.append(
            {"step": step, "event": "validate", **scores, "loss": 1.5, "selected_by": "AP", "AP": 0.55 + step / 1000}
        )
    return [*lines, {"step": steps, "event": "finished", "elapsed": float(steps)}]


def probe_line(step: int) -> dict[str, Any]:
    layers = {"encoder.0": {"update_ratio": 1e-3 * (step + 1), "dead": 0.25}, "detector": {"update_ratio": 2e-3}}
    return {"step": step, "event": "probe", "layers": layers, "output": {"dustbin": 0.9, "detections": float(step)}}


def finding(check: str, status: str, **texts: str) -> dict[str, Any]:
    return {"check": check, "status": status, "evidence": f"evidence of {check}", "cause": "", "remedy": "", **texts}


def record(label: str = "run", **fields: Any) -> RunRecord:
    full: dict[str, Any] = {"history": history(), "config": default_config(), "written": 1000.0, **fields}
    return RunRecord(path=Path("runs") / "x", label=label, **full)


def render(*records: RunRecord, pictures: RunPictures | None = None, now: float = NOW) -> str:
    return render_report(records, {one.label: pictures or RunPictures(notes=["none"]) for one in records}, now)


class Outline(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag == "img":
            self.images.append(found)
        if tag not in ("img", "meta", "line", "br"):
            self.open.append(tag)
        assert tag != "script"
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.links.append(str(found["href"]))

    def handle_endtag(self, tag: str) -> None:
        if tag != "line":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def says(self, words: str) -> bool:
        return words in " ".join("".join(self.text).split())


@pytest.fixture(scope="module")
def page() -> Outline:
    """Of a run without anything special."""
    return Outline(render(record()))


def bare(label: str = "run", **fields: Any) -> RunRecord:
    """A run without curves, which take most of the time."""
    return record(label, **({"history": [{"step": 60, "event": "finished", "elapsed": 60.0}]} | fields))


def test_structure(page: Outline) -> None:
    assert page.open == []  # every tag is closed, in order
    assert page.levels[0] == 1
    assert page.levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.levels, page.levels[1:], strict=False))
    assert sorted(page.links) == sorted(f"#{name}" for name in page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert page.images
    assert all(image["alt"] and image["width"] and str(image["src"]).startswith("data:") for image in page.images)


def test_key_figures(page: Outline) -> None:
    assert page.says("0.610 at step 60")
    assert page.says("1 min 0 s of training")
    assert page.says("finished")
    assert page.says("AP@4 clean0.660")


@pytest.mark.parametrize("label", [EVIL, "a&b\"'", "$x$"])
def test_everything_is_escaped(label: str) -> None:
    evil = record(
        label,
        config={"run": "x", EVIL: EVIL, "train.clip_norm": EVIL},
        environment={"argv": [EVIL], "date": EVIL, "cpu": EVIL, "versions": {EVIL: EVIL}, "git": {"revision": EVIL}},
        findings={"step": 3, "findings": [finding(EVIL, EVIL, cause=EVIL, remedy=EVIL)]},
        missing={"evaluation/synthetic.json": EVIL},
        history=[
            {"step": 99, "event": "validate", f"{EVIL}/ap@4": 0.5, "selected_by": "AP", "AP": 0.5},
            probe_line(99),
        ],
    )
    pictures = RunPictures(weights=EVIL, notes=[EVIL], samples=[(EVIL, np.zeros((8, 8), np.uint8))])
    for text in (render(evil, pictures=pictures), render(evil, record("b"), pictures=pictures)):
        assert "<script" not in text
        page = Outline(text)  # asserts that there is no such tag
        assert page.says(label)
        assert page.says(EVIL)


def test_only_what_differs_from_the_defaults_is_listed_first() -> None:
    config = default_config() | {"train.batch_size": "5", "new.key": "7"}
    del config["train.ema"]
    text = render(bare(config=config))
    page = Outline(text)
    first = text.split("<details")[0]
    assert "new.key" in first
    assert "train.batch_size" in first
    assert "optimizer.name" not in first
    assert page.says("Keys of this version that the run does not know: train.ema")
    assert Outline(render(bare())).says("All as in the defaults.")


def test_findings_come_worst_first_with_cause_and_remedy() -> None:
    findings = [finding("input", "PASS"), finding("labels", "WARN"), finding("border", "FAIL", cause="C", remedy="R")]
    text = render(bare(findings={"step": 40, "findings": findings}))
    page = Outline(text)
    assert text.index("evidence of border") < text.index("evidence of labels") < text.index("evidence of input")
    assert page.says("1 FAIL, 1 WARN, 1 PASS")
    assert page.says("Likely cause: C")
    assert page.says("Remedy: R")
    assert page.says("1 check that passed")
    assert page.says("Made at step 40; the run has gone on to step 60 since.")
    assert Outline(render(bare())).says("superpoint doctor runs/x")


def test_missing_parts_are_named(page: Outline) -> None:
    assert page.says("Not logged (yet): largest loss and largest change.")
    assert page.says("no line of the event probe")
    empty = record(history=[], config={}, written=None, missing={"config.yaml": "config.yaml is odd."})
    for text in (render(empty), render(empty, replace(empty, label="other"))):
        found = Outline(text)
        assert found.says("config.yaml is odd.")
        assert found.says("Nothing of training has been logged yet.")
        assert found.says("superpoint evaluate synthetic runs/x")


def test_evaluation_of_another_version_is_no_error() -> None:
    result = {"detector": "network", "variant": "clean", "images": 1, "pooled": {"4": {}}, "mean_ap": {}}
    strange = bare(evaluation=[result | {"primitives": {}, "curves": {}}])
    assert Outline(render(strange)).says("evaluation/synthetic.json cannot be read")
    assert Outline(render(strange, bare("b"))).says("evaluation/synthetic.json cannot be read")


def test_comparison_shows_each_run_and_what_differs() -> None:
    other = record("other", config=default_config() | {"optimizer.lr": "0.5"})
    page = Outline(render(record(), other))
    assert page.says("Comparison of 2 runs")
    assert page.says("optimizer.lr0.0010.5") or page.says("optimizer.lr 0.001 0.5")
    panels = training_panels([record(), other])
    assert all(len(panel.curves) == 2 for panel in panels if panel.drawn)
    assert {panel.x_end for panel in panels if panel.x_label == "step"} == {60.0}
    same = Outline(render(bare(), bare("same")))
    assert same.says("The configurations are the same")


def test_a_run_that_broke_marks_the_step() -> None:
    lines = [*history()[:-1], {"step": 61, "event": "nonfinite", "loss": None, "file": "nonfinite_step_61.pt"}]
    assert training_panels([record(history=lines)])[0].marks == [61]
    assert Outline(render(bare(history=lines[-1:]))).says("not finite at step 61; the batch is in nonfinite_step_61.pt")


def test_probe_lines_become_layers_and_curves() -> None:
    probed = record(history=[*(probe_line(step) for step in (0, 20, 40))])
    maps = layer_maps(probed)
    assert [title for title, _, _ in maps] == ["Update ratio", "Dead channels"]
    assert "encoder.0 0.041, detector 0.002" in maps[0][2]
    assert [panel.curves[0].y for panel in probe_panels([probed])][1] == [0.0, 20.0, 40.0]
    page = Outline(render(probed))
    assert any("Update ratio by layer" in str(image["alt"]) for image in page.images)
    strange = record(history=[{"step": 0, "event": "probe", "layers": [1], "output": None}])
    assert layer_maps(strange) == []
    assert probe_panels([strange]) == []


class Planted(nn.Module):
    """Finds a point in channel 0 of the first cell, nowhere else."""

    def __init__(self, value: float = 12.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = torch.zeros(len(image), 65, image.shape[2] // 8, image.shape[3] // 8)
        logits[:, 64] = self.value
        logits[:, 0, 0, 0] = 2 * self.value
        return {"logits": logits}


def test_output_of_a_network_on_an_image_of_odd_size() -> None:
    points = np.array([[0.0, 0.0], [17.0, 3.0]], np.float32)
    subject = Subject("odd", np.full((21, 30), 90, np.uint8), points)
    output = show_output(Planted().eval(), subject)
    assert [title for title, _ in output.pictures] == [
        "input and labels",
        "probability",
        "dustbin, by cell",
        "detections",
    ]
    assert {picture.shape for _, picture in output.pictures} == {(210, 300, 3)}
    assert "30 x 21 px; 1 detections" in output.facts
    assert "of 2 cells with a label 1 right, 0 misplaced, 1 missed; 0 false" in output.facts
    heat = output.pictures[1][1]
    assert heat[5, 5].tolist() == [253, 231, 37] or heat[5, 5].tolist() == [253, 231, 36]  # viridis at 1
    assert heat[100, 100].tolist() == [68, 1, 84]  # and at 0
    assert show_output(Planted().eval(), Subject("bare", subject.image)).pictures[0][0] == "input"
    with pytest.raises(UserError, match="NaN"):
        show_output(Planted(float("nan")).eval(), subject)


def test_heatmaps_and_statistics_are_on_the_page() -> None:
    outputs = [show_output(Planted().eval(), Subject(name, np.zeros((16, 16), np.uint8))) for name in ("one", "two")]
    pictures = RunPictures("best.ckpt, step 7", outputs, {"scenes": {"dustbin": 0.25, "unknown": 1.0}})
    page = Outline(render(bare(), pictures=pictures))
    assert page.says("Weights: best.ckpt, step 7.")
    assert sum("one: " in str(image["alt"]) for image in page.images) == 4
    assert page.says("0.25")
    pair = Outline(render(bare(), bare("other"), pictures=pictures))
    assert len(pair.images) == 16
    assert sum("other: " in str(image["alt"]) for image in pair.images) == 8


def test_sizes_are_made_common() -> None:
    stacked = fit_cells([torch.zeros(65, 4, 6), torch.ones(65, 5, 3)])
    assert stacked.shape == (2, 65, 4, 3)
    assert shrink(np.zeros((400, 200, 3), np.uint8), 100).shape == (100, 50)
    assert shrink(np.zeros((40, 20), np.uint8), 100).shape == (40, 20)
