"""Records of runs that never were, and a reader of pages."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from superpoint.diagnostics.report.facts import default_config
from superpoint.diagnostics.report.page import render_page
from superpoint.diagnostics.report.record import RunRecord
from superpoint.diagnostics.report.write import detector_sections
from superpoint.engine.run import History

END: dict[str, Any] = {"step": 60, "event": "finished", "elapsed": 60.0}


def lines(steps: int = 60) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"step": 0, "event": "initial_loss", "loss": 4.18, "expected": 4.174}]
    for step in range(1, steps + 1):
        values = {"loss": 4.0 / step, "lr": 1e-3, "grad_norm": 1.0, "dustbin": 0.9, "recall": step / steps}
        found.append({"step": step, "event": "train", **values, "img_per_s": 50.0, "data_wait": 0.1, "elapsed": step})
    for step in (steps // 2, steps):
        scores = {"clean/ap@2": 0.5, "clean/ap@4": 0.6 + step / 1000, "clean/localisation@4": 0.7, "loss": 1.5}
        found.append({"step": step, "event": "validate", **scores, "selected_by": "AP", "AP": 0.55 + step / 1000})
    return [*found, END]


def probe_line(step: int) -> dict[str, Any]:
    layers = {"encoder.0": {"update_ratio": 1e-3 * (step + 1), "dead": 0.25}, "detector": {"update_ratio": 2e-3}}
    return {"step": step, "event": "probe", "layers": layers, "output": {"dustbin": 0.9, "detections": float(step)}}


def finding(check: str, status: str, **texts: str) -> dict[str, Any]:
    return {"check": check, "status": status, "evidence": f"evidence of {check}", "cause": "", "remedy": "", **texts}


def record(label: str = "run", history: list[dict[str, Any]] | None = None, **fields: Any) -> RunRecord:
    entries = lines() if history is None else history
    return RunRecord(Path("runs/x"), label, **{"history": History(entries), "config": default_config(), **fields})


def bare(label: str = "run", **fields: Any) -> RunRecord:
    """A run without curves, which take most of the time."""
    return record(label, **({"history": [END]} | fields))


def render(made: RunRecord) -> str:
    return render_page(made, list(detector_sections(made)))


class Outline(HTMLParser):
    """What a page holds; asserts that its elements are closed in order and that none is a script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in ("img", "meta", "line"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "line":
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def levels(self) -> list[int]:
        return [int(tag[1]) for tag in self.tags if re.fullmatch("h[1-6]", tag)]

    def values(self, attribute: str) -> list[str]:
        return [str(value) for name, value in self.attributes if name == attribute]

    def says(self, words: str) -> bool:
        return words in " ".join("".join(self.text).split())
