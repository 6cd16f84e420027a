"""The page as a whole: what it shows of a run, whatever the run folder holds. Browsers: test_write.py."""

import numpy as np
import pytest

from superpoint.diagnostics.report.facts import default_config
from superpoint.diagnostics.report.page import gradient
from tests.diagnostics.report.made_up import Outline, bare, finding, probe_line, record, render

EVIL = "<script>alert('1')</script>&\""


@pytest.fixture(scope="module")
def page() -> Outline:
    """Of a run without anything special."""
    return Outline(render(record()))


def test_structure(page: Outline) -> None:
    assert page.levels[0] == 1
    assert page.levels.count(1) == 1
    assert max(np.diff(page.levels)) == 1  # no level is left out
    ids = page.values("id")
    assert sorted(page.values("href")) == sorted(f"#{name}" for name in ids)
    assert len(set(ids)) == len(ids)
    assert page.images
    assert page.says("0.610 at step 60")
    assert all(image["alt"] and image["width"] and str(image["src"]).startswith("data:") for image in page.images)


def test_it_declares_its_language_and_loads_nothing(page: Outline) -> None:
    assert page.values("lang") == ["en"]
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page.values("content")
    assert not {"link", "iframe"} & set(page.tags)


@pytest.mark.parametrize("label", [EVIL, "a&b\"'", "$x$"])
def test_everything_is_escaped(label: str) -> None:
    evil = record(
        label,
        [{"step": 99, "event": "validate", f"{EVIL}/ap@4": 0.5, "selected_by": "AP", "AP": 0.5}, probe_line(99)],
        config={"run": "x", EVIL: EVIL, "train.clip_norm": EVIL},
        environment={"argv": [EVIL], "date": EVIL, "cpu": EVIL, "versions": {EVIL: EVIL}, "git": {"revision": EVIL}},
        findings={"step": EVIL, "summary": EVIL, "findings": [finding(EVIL, EVIL, cause=EVIL, remedy=EVIL)]},
        missing={"evaluation/synthetic.json": EVIL},
        resume=EVIL,
    )
    text = render(evil)
    assert "<script" not in text
    page = Outline(text)
    assert page.says(label)
    assert page.says(EVIL)


@pytest.mark.parametrize(
    ("state", "history", "words"),
    [
        ("running", [], "A process trains into this folder."),
        ("crashed", [], "Nothing has been logged yet. To go on: superpoint"),
        ("crashed", [{"step": 9, "event": "train"}], "probably killed"),
        ("crashed", [{"step": 61, "event": "nonfinite", "file": "bad.pt"}], "at step 61; the batch is in bad.pt."),
    ],
)
def test_the_heading_says_how_the_run_stands(state: str, history: list, words: str) -> None:
    resume = "superpoint train" if state == "crashed" else None
    assert Outline(render(record(history=history, state=state, resume=resume))).says(words)


def test_only_what_differs_from_the_defaults_is_listed_first() -> None:
    config = default_config() | {"train.batch_size": "5", "new.key": "7"}
    del config["train.ema"]
    text = render(bare(config=config))
    first = text.split("<details")[0]
    assert [key in first for key in ("new.key", "train.batch_size", "optimizer.name")] == [True, True, False]
    assert Outline(text).says("Keys of this version that the run does not know: train.ema")
    assert Outline(render(bare())).says("All as in the defaults.")


def test_findings_come_worst_first_with_cause_and_remedy() -> None:
    findings = [finding("input", "PASS"), finding("labels", "WARN"), finding("border", "FAIL", cause="C", remedy="R")]
    verdict = "1 FAIL, 1 WARN, 1 PASS"
    text = render(bare(findings={"step": 40, "summary": verdict, "findings": findings}))
    assert text.index("evidence of border") < text.index("evidence of labels") < text.index("evidence of input")
    page = Outline(text)
    for words in (verdict, "Likely cause: C", "Remedy: R", "gone on to step 60"):
        assert page.says(words), words
    assert Outline(render(bare())).says("superpoint doctor runs/x")


def test_missing_parts_are_named(page: Outline) -> None:
    assert page.says("Logged less than twice (yet): largest loss and largest change.")
    assert page.says("Healthy looks like this: steady, not rising")
    assert page.says("train.probe_every sets")
    empty = record(history=[], config={}, missing={"config.yaml": "config.yaml is odd."})
    found = Outline(render(empty))
    assert found.says("config.yaml is odd.")
    assert found.says("Nothing of training has been logged yet.")
    assert found.says("superpoint evaluate synthetic --model runs/x")


def test_probe_lines_become_pictures() -> None:
    page = Outline(render(record(history=[probe_line(step) for step in (0, 20)], config={})))
    assert any("detector: from 0.002 to 0.002" in str(image["alt"]) for image in page.images)


def test_a_color_bar_follows_the_power() -> None:
    straight, rooted = (gradient("viridis", power).split(", ") for power in (1.0, 0.5))
    assert straight[1] == rooted[1] == "rgb(68,1,84)"
    assert straight[9] == rooted[5]  # 17 colours: 0.5 is 0.25 ** 0.5
