from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from superpoint.reconstruction.page import write_page, write_picture
from superpoint.reconstruction.scene import Scene

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPORT = {
    "registered": 2, "images": 4, "points": 500, "track_length": 3.25, "error": 0.5, "models": 1,
    "mapper": "incremental", "points_per_photograph": {"<b>.jpg": 7, "two.jpg": 5}, "not_registered": ["three.jpg"],
    "skipped": {"four.jpg": "truncated"},
}  # fmt: skip


def scene(points: int = 500) -> Scene:
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0, 0], [-1, -1, -2], [1, -1, -2], [1, 1, -2], [-1, 1, -2]]) * 0.1
    cameras = (corners + np.array([[[-0.5, 0, 2]], [[0.5, 0, 2]]])).astype(np.float32)
    places = rng.normal(0, 0.7, (points, 3)).astype(np.float32)
    return Scene(places, rng.integers(0, 256, (points, 3)).astype(np.uint8), cameras, ["<b>.jpg", "two.jpg"])


@pytest.mark.parametrize("points", [0, 500])
def test_the_picture_and_the_page_are_written(tmp_path: Path, points: int) -> None:
    write_picture(tmp_path / "model.png", scene(points), "2 of 4 photographs")
    assert (tmp_path / "model.png").stat().st_size > 5000
    write_page(tmp_path / "model.html", scene(points), REPORT, "2 of 4 photographs")
    text = (tmp_path / "model.html").read_text()
    assert "<b>" not in text
    assert all(words in text for words in ("not registered", "four.jpg: truncated", "0.50 px", "&lt;b&gt;.jpg"))
    assert "http" not in text.replace("http-equiv", "")  # it loads nothing


@pytest.mark.parametrize("width", [1280, 390])
def test_the_scene_turns_and_cameras_have_names(browser: "Browser", tmp_path: Path, width: int) -> None:
    write_page(tmp_path / "model.html", scene(), REPORT, "2 of 4 photographs")
    page = browser.new_page(viewport={"width": width, "height": 800}, device_scale_factor=2)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"file://{tmp_path}/model.html")

    def picture() -> str:
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return page.evaluate("canvas.toDataURL()")

    first = picture()
    box = page.locator("#view").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 90, steps=4)
    page.mouse.up()
    assert page.evaluate("view.yaw > start.yaw && view.pitch > start.pitch")
    turned = picture()
    page.mouse.wheel(0, -300)
    page.wait_for_function("view.zoom > 1")
    assert len({first, turned, picture()}) == 3
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 100)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert page.evaluate("[view.x, view.y]") == [-40, 10]  # pixels of the page, whatever the screen's
    page.locator("tr[data-camera='1']").click()
    assert page.locator("#note").text_content() == "two.jpg"
    page.locator("#reset").click()
    assert picture() == first
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not errors
    page.close()
