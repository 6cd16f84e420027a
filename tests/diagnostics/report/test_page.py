from __future__ import annotations

import base64
from html.parser import HTMLParser

import cv2
import numpy as np

from superpoint.diagnostics.report.page import (
    Html,
    color_bar,
    data_uri,
    figure,
    image_uri,
    join,
    legend,
    page,
    picture,
    png_size,
    swatch,
    table,
    tag,
)

EVIL = "<script>alert('1')</script>&\""


class Parser(HTMLParser):
    """Collects the tags that are opened, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_text_and_attributes_are_escaped_and_html_is_not() -> None:
    found = Parser(tag("p", EVIL, tag("b", EVIL), title=EVIL, class_="x"))
    assert found.tags == ["p", "b"]
    assert "".join(found.words) == EVIL + EVIL
    assert found.attributes == [("title", EVIL), ("class", "x")]
    assert isinstance(join([EVIL, Html("<i>")]), Html)


def test_escaped_in_every_place() -> None:
    image = picture("data:,", EVIL, width=3, height=2)
    parts = [
        table([EVIL, EVIL], [[EVIL, EVIL]], numeric=[1], kind=EVIL),
        figure(EVIL, image, EVIL),
        legend([(swatch((1, 2, 3)), EVIL)]),
    ]
    text = page(EVIL, *parts)
    assert "script" not in Parser(text).tags
    assert Parser(text).words.count(EVIL) >= 6
    assert ("alt", EVIL) in Parser(image).attributes


def test_page_loads_nothing_and_declares_its_language() -> None:
    text = page("t", tag("h1", "t"))
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in dict(
        (name, value) for name, value in Parser(text).attributes if name == "content" and value and "src" in value
    ).get("content", "")
    assert not {"link", "script", "iframe"} & set(Parser(text).tags)
    assert "url(" not in text
    assert "@import" not in text


def test_table_cells_have_scopes_and_a_box() -> None:
    found = Parser(table(["a", "b"], [["x", 1], ["y", 2]], numeric=[1]))
    assert found.tags.count("td") == 2
    assert [value for name, value in found.attributes if name == "scope"] == ["col", "col", "row", "row"]
    assert [value for name, value in found.attributes if value == "number"] == ["number"] * 3
    assert "thead" not in Parser(table([], [["x", 1]])).tags


def test_images_come_back_from_their_uri() -> None:
    image = np.zeros((16, 24, 3), np.uint8)
    image[:, :12] = (200, 30, 90)
    kind, data = image_uri(image).split(";base64,")
    back = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert kind == "data:image/jpeg"
    assert back is not None
    assert np.abs(back[:, 2:10].astype(int) - (200, 30, 90)).max() < 6
    assert np.abs(back[:, 14:].astype(int)).max() < 6
    assert data_uri(b"abc", "text/plain") == "data:text/plain;base64,YWJj"


def test_size_of_a_png() -> None:
    data = cv2.imencode(".png", np.zeros((5, 7), np.uint8))[1].tobytes()
    assert png_size(data) == (7, 5)
    assert png_size(data[:20]) is None
    assert png_size(b"JFIF" * 20) is None


def test_color_bar_follows_the_power() -> None:
    straight, rooted = color_bar("viridis", "0", "1"), color_bar("viridis", "0", "1", power=0.5)
    assert straight != rooted
    for bar in (straight, rooted):
        assert "rgb(68,1,84)" in bar  # the ends of viridis
        assert "rgb(253,231,37" in bar.replace("rgb(253,231,36", "rgb(253,231,37")
