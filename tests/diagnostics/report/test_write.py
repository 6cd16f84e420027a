"""The report of a real, tiny run: the stage, the command, and the page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from superpoint.commands.conclusion import conclude
from superpoint.config import MagicPointConfig, load_config
from superpoint.diagnostics.report import network
from superpoint.diagnostics.report import write as stage
from superpoint.diagnostics.report.write import write_report
from superpoint.errors import UserError
from superpoint.training.magicpoint import train_magicpoint
from superpoint.visualize import save_image
from tests.conftest import TINY_TRAINING, CommandLine

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SETTINGS = [*TINY_TRAINING, "train.probe_every=2", "validation.images=2", "train.steps=4", "train.report=false"]
EVIL = "a <script>alert(1)</script> & b"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps whose name wants to be a script, examined by a doctor who says little."""
    folder = tmp_path_factory.mktemp("report") / EVIL.replace("/", "\u2215")
    config = load_config(MagicPointConfig, None, [*SETTINGS, f"run={json.dumps(str(folder))}"])
    conclude(config, train_magicpoint(config))
    finding = {"check": "border", "status": "FAIL", "evidence": "e " * 200, "cause": EVIL, "remedy": "x" * 300}
    (folder / "doctor").mkdir()
    (folder / "doctor/findings.json").write_text(json.dumps({"run": "r", "step": 4, "findings": [finding] * 3}))
    return folder


@pytest.fixture(scope="module")
def written(run: Path) -> Path:
    return write_report(run)


def test_default_place_and_content(run: Path, written: Path) -> None:
    assert written == run / "report.html"
    text = written.read_text(encoding="utf-8")
    assert len(text.encode()) < 3_000_000
    assert "<script" not in text
    for words in ("(best.ckpt), step 4", "motorcycle_left", "sample 4000: ", "Update ratio", "synthetic-ap"):
        assert words in text, words
    assert not list(run.glob("*.tmp"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of one line, without pictures: for what does not depend on them."""
    monkeypatch.setattr(stage, "render_page", lambda record, sections: f"{record.label} {len(sections)}")
    monkeypatch.setattr(stage, "detector_sections", lambda record: [])


@pytest.mark.usefixtures("quick")
def test_command(run: Path, tmp_path: Path, cli: CommandLine) -> None:
    output = cli.succeeds("report", run, "--out", tmp_path / "new/page.html")
    assert output.split()[-1] == str(tmp_path / "new/page.html")
    assert (tmp_path / "new/page.html").read_text() == f"{run.name} 0"


@pytest.mark.parametrize("place", ["nowhere", "", "page.html"])
def test_no_run_folder(place: str, tmp_path: Path, cli: CommandLine) -> None:
    (tmp_path / "page.html").write_text("")
    cli.fails("report", tmp_path / place)


@pytest.mark.usefixtures("quick")
def test_out_that_cannot_be_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(run, tmp_path / "file/page.html")
    with pytest.raises(UserError, match="found a folder"):
        write_report(run, tmp_path)


def test_a_run_that_has_just_begun(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "config.yaml", tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "event": "initial_loss", "loss": 4.2}\n{"step": 2, "ev')
    text = write_report(tmp_path).read_text()
    for words in ("found no checkpoint", "superpoint doctor", "1 damaged line of", "sample 4000"):
        assert words in text, words


def test_broken_configuration_and_weights_without_scikit_image(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(channels: int) -> Any:
        raise UserError("the sample photographs need scikit-image")

    monkeypatch.setattr(network, "shown_photographs", absent)
    shutil.copytree(run / "checkpoints", tmp_path / "checkpoints")
    (tmp_path / "config.yaml").write_text("data: {height: -5}")
    text = write_report(tmp_path).read_text()
    for words in ("scenes of the default size are shown", "need scikit-image", "They cannot be drawn: config.yaml"):
        assert words in text, words
    best = tmp_path / "checkpoints/best.ckpt"
    best.write_bytes(best.read_bytes()[:5000])
    assert "No heatmaps: " in write_report(tmp_path).read_text()


def test_labelled_photographs_of_the_training_set(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        for name in ("a.png", "b.png", "c.png"):
            save_image(tmp_path / "images" / name, np.full((60, 80), 90, np.uint8))
            group = file.create_group(name)
            group["keypoints"] = np.array([[30, 20], [49, 39]], np.float32)
            group["image_size"] = np.array([80, 60])
    folder = tmp_path / "run"
    shutil.copytree(run / "checkpoints", folder / "checkpoints")
    text = (run / "config.yaml").read_text().replace("kind: synthetic", "kind: labelled")
    text = re.sub("labels: null", f"labels: {tmp_path}/labels.h5", text)
    (folder / "config.yaml").write_text(re.sub("images: null", f"images: {tmp_path}/images", text))
    monkeypatch.setattr(network, "SAMPLES", 2)
    page = write_report(folder).read_text()
    assert "held-out photograph 0" in page
    assert "sample 4001: " in page
    shutil.rmtree(tmp_path / "images")
    page = write_report(folder).read_text()
    assert "Not shown: " in page
    assert "checkerboard" in page
    assert "config.yaml or the training set cannot be read" in page


class Visit:
    """A page in the browser, cut off from any network; loading anything from outside is a complaint."""

    def __init__(self, browser: Browser, file: Path, width: int) -> None:
        self.complaints: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url[:80]}"))
        self.page.goto(file.resolve().as_uri())


@pytest.mark.parametrize("width", [1280, 390])
def test_page_in_a_browser(written: Path, width: int, browser: Browser) -> None:
    visit = Visit(browser, written, width)
    page = visit.page
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "[...document.images].filter(one => !one.complete || one.naturalWidth === 0).map(one => one.alt)"
    assert page.evaluate(broken) == []
    assert page.evaluate("document.images.length") > 30
    # What is wider than the page scrolls in a box of its own; nothing else sticks out.
    wide = """[...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll')
              && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"""
    assert page.evaluate(wide) == []
    # Titles are cut off nowhere, and a row of figures has its frames on one line.
    tops = page.evaluate("""[...document.querySelectorAll('.panels')].map(grid => [...grid.querySelectorAll('img')]
                            .map(one => Math.round(one.getBoundingClientRect().bottom)))""")
    columns = 3 if width == 1280 else 1
    assert all(len(set(grid[:columns])) == 1 for grid in tops)
    assert visit.complaints == []
    visit.context.close()
