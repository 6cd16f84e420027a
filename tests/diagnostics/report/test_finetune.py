"""The page of a fine-tuning: its words, its figures, and how it looks in a real browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from superpoint.config import FinetuneConfig
from superpoint.diagnostics.report.finetune import NAMES, change_table, write_finetune_page
from superpoint.training.superpoint import COLUMNS
from superpoint.visualize import save_image
from tests.diagnostics.report.made_up import Outline

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EVIL = "<script>alert(1)</script>"
MEANS = dict.fromkeys(COLUMNS, 0.5)
CHANGE = {"difference": 0.25, "interval": [-0.125, 0.5], "p": 0.5, "verdict": "no measurable difference"}
RESULT = {
    **{"before": {"auc@5": 0.25}, "after": MEANS, "sift": MEANS, "held_out": 6},
    "change": {"auc@5": CHANGE, "localisation": {**CHANGE, "difference": None, "interval": None}},
}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "finetune.json").write_text(json.dumps(RESULT))
    for when in ("before", "after"):
        save_image(tmp_path / f"matches_{when}.png", np.zeros((1080, 648, 3), np.uint8))
    (tmp_path / "training").mkdir()
    (tmp_path / "training/report.html").touch()
    return write_finetune_page(FinetuneConfig(run=str(tmp_path), images=EVIL))


def test_every_figure_has_a_row_with_its_change() -> None:
    assert set(NAMES) == set(COLUMNS)
    rows = {row[0]: list(row[1:]) for row in change_table(RESULT).rows}
    changed = ["0.250", "0.500", "+0.250 [-0.125, +0.500]", "no measurable difference", "0.500"]
    assert rows[NAMES["auc@5"]] == changed
    one = {row[0]: list(row[1:]) for row in change_table({**RESULT, "held_out": 1}).rows}
    assert one[NAMES["auc@5"]][2] == "+0.250"  # one photograph has no spread
    assert rows[NAMES["localisation"]] == ["-", "0.50", "-", "no measurable difference", "0.50"]
    assert rows[NAMES["mma@3"]] == ["-", "0.500", "-", "-", "0.500"]


def test_it_says_what_came_of_it_and_how_to_go_on(page: Path) -> None:
    found = Outline(page.read_text())
    assert found.says("0.250 before, 0.500 after. No measurable difference in any column")
    assert found.says(f"superpoint match first.jpg second.jpg --model {page.parent} --out matches.png")
    assert found.says(EVIL)
    assert [image["alt"] for image in found.images] == ["The weights you began with.", "The new weights."]
    assert "training/report.html" in found.values("href")


def test_weights_without_descriptors_have_no_picture_of_before(page: Path) -> None:
    (page.parent / "matches_before.png").unlink()
    (page.parent / "training/report.html").unlink()
    write_finetune_page(FinetuneConfig(run=str(page.parent), images="photos"))
    found = Outline(page.read_text())
    assert len(found.images) == 1
    assert "training/report.html" not in found.values("href")


@pytest.mark.parametrize("width", [1280, 390])
def test_before_and_after_stand_side_by_side_where_there_is_room(page: Path, width: int, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    shown = context.new_page()
    shown.goto(page.as_uri())
    tops = shown.evaluate("[...document.images].map(one => Math.round(one.getBoundingClientRect().top))")
    assert (tops[0] == tops[1]) == (width == 1280)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    wide = """[...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll')
              && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"""
    assert shown.evaluate(wide) == []
    context.close()
