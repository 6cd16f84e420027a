import io
import math

import pytest
from rich.console import Console

from superpoint.engine import display
from superpoint.engine.display import Display, format_seconds, watch


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(65, "1:05"), (3725.4, "1:02:05"), (0, "0:00"), (-1, "0:00"), (math.nan, "?"), (math.inf, "?")],
)
def test_format_seconds(seconds: float, expected: str) -> None:
    assert format_seconds(seconds) == expected


def test_plain_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 3.0, 3.0, 31.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with Display(console=Console(file=stream, force_terminal=False, width=20)) as shown:
        shown.update(0.1, {"step": 10, "loss": 1.0}, 60.0)  # after 1 s: too early; after 3 s the first, then every 30 s
        shown.update(0.25, {"step": 20, "loss": 0.5}, 60.0)
        shown.update(0.3, {"step": 30, "loss": 0.4}, 60.0)
    assert stream.getvalue() == " 25.0 %  step 20  loss 0.5  ETA 3:00\n"


@pytest.mark.parametrize("enabled", [True, False])
def test_bar_in_a_terminal(enabled: bool) -> None:
    stream = io.StringIO()
    with Display(enabled=enabled, console=Console(file=stream, force_terminal=True, width=200)) as shown:
        shown.update(0.5, {"step": 7, "img/s": 25.0}, 10.0)
        shown.message("a [line] of text")
    assert ("a [line] of text" in stream.getvalue()) == enabled
    assert ("step 7  img/s 25  ETA 0:10" in stream.getvalue()) == enabled
    assert enabled or stream.getvalue() == ""


def test_the_time_left_is_that_of_this_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display.time, "monotonic", iter([0.0, 30.0, 30.0, 30.0]).__next__)
    stream = io.StringIO()
    with Display(100, 40, "images", console=Console(file=stream, force_terminal=False, width=20)) as shown:
        shown.update(60, {"skipped": 3})  # 20 in 30 s, so 40 in 60 s
    assert stream.getvalue() == "images 60/100  skipped 3  ETA 1:00\n"


def test_watched_items_come_with_their_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "FIRST_SECONDS", -1.0)
    assert list(watch([5, 6], "things")) == [5, 6]
    assert capsys.readouterr().err.startswith("things 0/2  ETA ?")
    assert list(watch(iter([5]), "things", enabled=False)) == [5]
    assert capsys.readouterr().err == ""
