"""The page in a real browser."""

from __future__ import annotations

import gc
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from superpoint.demo.page import serve
from superpoint.inference.detector import load_model

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SECONDS = 60_000  # ms


@pytest.fixture(scope="module")
def address(browser: Browser) -> Iterator[str]:
    page = serve(load_model("magicpoint-lite", backend="torch", device="cpu"), block=False)
    yield page.local_url
    page.close()
    del page
    # Gradio leaves sockets and event loops to the garbage collector: else their warnings would fail some later test.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Visit:
    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self._seen(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(address)
        page.get_by_role("button", name="Match").wait_for(timeout=SECONDS)

    def _seen(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.outside.append(url)

    def match(self, *files: Path) -> None:
        for which, file in zip(("first", "second"), files, strict=True):
            self.page.locator(f"#{which} input[type=file]").set_input_files(str(file))
            self.page.locator(f"#{which}").get_by_text(file.stem).first.wait_for(timeout=SECONDS)
        self.page.get_by_role("button", name="Match").click()

    def image(self, which: str) -> Any:
        return self.page.locator(f"#{which} img").first


@pytest.fixture
def visit(address: str, browser: Browser) -> Iterator[Visit]:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    yield Visit(page, address)
    page.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Gradio's own parts
def test_two_images(visit: Visit, photographs: tuple[Path, Path]) -> None:
    assert visit.address.startswith("http://127.0.0.1:")
    visit.match(*photographs)
    for which in ("network", "sift"):
        visit.image(which).wait_for(timeout=SECONDS)
        visit.page.wait_for_function(f"document.querySelector('#{which} img').naturalWidth > 400", timeout=SECONDS)
    assert "magicpoint-lite + SIFT descriptors" in visit.page.locator("#figures").inner_text()
    visit.page.get_by_role("tab", name="Heatmaps").click()
    visit.image("heatmaps").wait_for(timeout=SECONDS)
    assert visit.outside == []
    assert visit.errors == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_example_and_a_setting_on_a_phone(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 900})
    visit.page.get_by_role("button", name="coffee").click()
    visit.image("network").wait_for(timeout=SECONDS)
    points = visit.page.get_by_label("number input for Max keypoints per image")
    points.fill("64")
    points.press("Enter")
    visit.page.locator("#figures td").get_by_text("64", exact=True).first.wait_for(timeout=SECONDS)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    picture = visit.image("network").bounding_box()
    button = visit.page.locator("#network button").first.bounding_box()
    assert picture is not None
    assert button is not None
    assert button["y"] + button["height"] <= picture["y"]
    assert visit.errors == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_bad_file(visit: Visit, photographs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an image at all")
    visit.match(photographs[0], tmp_path / "notes.txt")
    message = visit.page.get_by_text("second image: notes.txt: found a file that is not an image").first
    message.wait_for(timeout=SECONDS)
    # And the page goes on.
    visit.page.reload()
    visit.match(*photographs)
    visit.image("network").wait_for(timeout=SECONDS)


def test_without_gradio(tmp_path: Path) -> None:
    """In a process of its own, where the package cannot be imported."""
    code = (
        "import sys; sys.modules['gradio'] = None\n"
        "from superpoint.cli import main\n"
        "main(['demo', '--model', 'magicpoint-lite'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "superpoint demo: starting",  # also without a terminal
        "error: the Python package 'gradio' is not installed: pip install 'superpoint[demo]'",
    ]
