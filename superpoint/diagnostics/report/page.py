"""HTML of the report: text is escaped unless it is `Html`, and pictures are part of the page."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from superpoint.visualize import colormap, to_rgb

Color = tuple[int, int, int]
LARGEST_PNG = 500_000  # bytes of a picture that is taken over as it is


class Html(str):
    """Text that is HTML already. Any other text is escaped where it enters the page."""


def escape(content: object) -> Html:
    return content if isinstance(content, Html) else Html(html.escape(str(content)))


def join(parts: Iterable[object], between: str = "") -> Html:
    return Html(between.join(escape(part) for part in parts))


def tag(name: str, *content: object, **attributes: object) -> Html:
    """<name key="value">content</name>; of an attribute's name a last underscore is dropped (class_)."""
    given = "".join(f' {key.rstrip("_")}="{html.escape(str(value))}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{join(content)}</{name}>")


def page(title: str, *body: object) -> str:
    """The whole document. The content security policy makes a browser refuse anything from outside the page."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{join(body, chr(10))}\n</body>\n</html>\n"
    )


def section(name: str, title: str, *content: object) -> Html:
    return tag("section", tag("h2", title), join(content, "\n"), id=name)


def paragraph(*content: object, kind: str = "") -> Html:
    return tag("p", *content, **({"class_": kind} if kind else {}))


def missing(*content: object) -> Html:
    """What a section says in place of a part that is not there."""
    return paragraph(*content, kind="missing")


def details(summary: object, *content: object) -> Html:
    return tag("details", tag("summary", summary), *content)


def table(
    headers: Sequence[object], rows: Sequence[Sequence[object]], *, numeric: Iterable[int] = (), kind: str = ""
) -> Html:
    """A table that scrolls inside its own box if it is too wide; the first cell of a row is its header.

    Args:
        headers: of the columns; may be empty.
        numeric: columns whose cells are aligned to the right.
        kind: class of the table.
    """
    right = set(numeric)

    def cell(name: str, column: int, content: object, scope: str = "") -> Html:
        given = {"class_": "number"} if column in right else {}
        return tag(name, content, **given, **({"scope": scope} if scope else {}))

    head = join(cell("th", column, content, "col") for column, content in enumerate(headers))
    body = join(
        tag("tr", *(cell("td" if column else "th", column, content, "" if column else "row")
                    for column, content in enumerate(row)))
        for row in rows
    )  # fmt: skip
    whole = tag(
        "table",
        tag("thead", tag("tr", head)) if headers else "",
        tag("tbody", body),
        **({"class_": kind} if kind else {}),
    )
    # A box that scrolls must be reachable by keyboard.
    return tag("div", whole, class_="scroll", tabindex="0")


def picture(uri: str, alt: str, *, width: int, height: int, kind: str = "") -> Html:
    """An image; its size in CSS pixels keeps the page from jumping while it loads."""
    given = {"class_": kind} if kind else {}
    attributes = {"src": uri, "alt": alt, "width": width, "height": height, **given}
    text = "".join(f' {key.rstrip("_")}="{html.escape(str(value))}"' for key, value in attributes.items())
    return Html(f"<img{text}>")


def figure(title: object, image: Html, *notes: object, kind: str = "") -> Html:
    """A picture with its title above and notes (legend, explanation) between the two."""
    caption = tag("figcaption", tag("strong", title), *notes)
    return tag("figure", caption, image, **({"class_": kind} if kind else {}))


def image_uri(image: np.ndarray, quality: int = 90) -> str:
    """An image (see `visualize.to_rgb`) as a data URI: JPEG with full colour resolution."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(to_rgb(image), cv2.COLOR_RGB2BGR), settings)
    return data_uri(data.tobytes(), "image/jpeg")


def data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG; None if it is none."""
    if len(data) < 24 or data[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def png_figure(path: Path, title: str, alt: str) -> Html:
    """A PNG that another stage has written, as it is; a sentence in its place if it is none or very large."""
    data = path.read_bytes()
    size = png_size(data)
    if size is None:
        return missing(f"{path.name} cannot be read as PNG.")
    if len(data) > LARGEST_PNG:
        return missing(f"{path.name} is too large for this page.")
    return figure(title, picture(data_uri(data, "image/png"), f"{alt}.", width=size[0], height=size[1]))


def swatch(color: Color, dashes: Sequence[float] = (), *, faint: bool = False) -> Html:
    """A piece of a line as a legend shows it."""
    dash = f' stroke-dasharray="{" ".join(f"{length:g}" for length in dashes)}"' if dashes else ""
    ink = f"rgb({color[0]},{color[1]},{color[2]})"
    return Html(
        '<svg class="swatch" width="26" height="8" aria-hidden="true"><line x1="1" y1="4" x2="25" y2="4" '
        f'stroke="{ink}" stroke-width="{1.2 if faint else 2.4}"{dash}/></svg>'
    )


def legend(entries: Iterable[tuple[Html, object]]) -> Html:
    """Swatches and what they stand for."""
    return tag("span", *(tag("span", mark, text, class_="key") for mark, text in entries), class_="legend")


def color_bar(name: str, low: str, high: str, *, power: float = 1.0) -> Html:
    """A colour map of matplotlib between the values it stands for, which are coloured by their power `power`."""
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in colormap(np.linspace(0, 1, 17) ** power, name).tolist())
    bar = Html(f'<span class="ramp" style="background: linear-gradient(to right, {stops})"></span>')
    return tag("span", low, bar, high, class_="bar")
