"""Progress of long work: a bar or lines now and then; averages and speed of a training."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

T = TypeVar("T")
FIRST_SECONDS, PLAIN_SECONDS = 3.0, 30.0  # until the first line, and between lines, where there is no terminal


class Display:
    """Progress on stderr: a bar in a terminal, a line now and then elsewhere. Use as a context manager.

    Args:
        total: units of work (0: unknown), of which `done` were finished before.
        unit: what is counted; "" shows the share in percent instead.
        enabled: False is silent.
        progress: False shows messages alone.
    """

    def __init__(
        self,
        total: float = 1.0,
        done: int = 0,
        unit: str = "",
        *,
        enabled: bool = True,
        progress: bool = True,
        console: Console | None = None,
    ) -> None:
        self.total, self.unit = total, unit
        self.enabled, self.progress = enabled, enabled and progress
        self.console = console or Console(stderr=True)
        self._before, self._began = done, time.monotonic()
        self._bar: Progress | None = None
        self._shown = self._began - PLAIN_SECONDS + FIRST_SECONDS
        if self.progress and self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=2)
            self._task = self._bar.add_task("starting", total=total or None, completed=done)

    def __enter__(self) -> Display:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def message(self, text: str, *, warning: bool = False) -> None:
        """Print a line above the bar."""
        if self.enabled:
            self.console.print(Text(text, style="bold yellow" if warning else ""), soft_wrap=True)

    def update(self, done: float, fields: Mapping[str, float] | None = None, elapsed: float | None = None) -> None:
        """Show how much is done, `fields`, and the time left; `elapsed`: seconds it took, None = since the start."""
        seconds = time.monotonic() - self._began if elapsed is None else elapsed
        new = done - self._before
        left = seconds / new * (self.total - done) if new > 0 and self.total else float("nan")
        share = f"{self.unit} {done}/{self.total or '?'}" if self.unit else f"{100 * min(done, 1.0):5.1f} %"
        numbers = "".join(f"  {name} {f'{x:.4g}' if isinstance(x, float) else x}" for name, x in (fields or {}).items())
        line = f"{share}{numbers}  ETA {format_seconds(left)}"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=line)
        elif self.progress and time.monotonic() - self._shown >= PLAIN_SECONDS:
            self._shown = time.monotonic()
            self.message(line)


def watch(items: Iterable[T], what: str, total: int | None = None, *, enabled: bool = True) -> Iterator[T]:
    """Yield `items` while a `Display` says how many of `what` are done; `total`: if they do not know their number."""
    total = len(items) if total is None and isinstance(items, Sized) else total or 0
    with Display(total, unit=what, enabled=enabled) as display:
        for done, item in enumerate(items):
            display.update(done)
            yield item


def format_seconds(seconds: float) -> str:
    """Return 3725 as "1:02:05", 65 as "1:05", nan and inf as "?"."""
    if seconds != seconds or seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Meter:
    """Averages and speed of the steps since the last line of the log."""

    def __init__(self) -> None:
        self._previous: float | None = None  # loss of the step before
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._samples = 0
        self._waited = 0.0  # seconds the loop waited for data
        self._busy = 0.0  # seconds up to the last pause
        self._since = time.monotonic()
        self._largest: dict[str, float] = {}
        self._jump = (0.0, 0)  # largest change of the loss from one step to the next, and the later of the two steps

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time the body as waiting for data."""
        asked = time.monotonic()
        yield
        self._waited += time.monotonic() - asked

    def add(self, step: int, scalars: dict[str, float], samples: int) -> None:
        """Take in step `step`; its time began at the step before or the last `pause`."""
        for name, value in scalars.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            if name in ("loss", "grad_norm"):
                self._largest[f"{name}_max"] = max(value, self._largest.get(f"{name}_max", value))
        loss = scalars["loss"]
        if self._previous is not None and abs(loss - self._previous) > abs(self._jump[0]):
            self._jump = (loss - self._previous, step)
        self._previous = loss
        self._steps += 1
        self._samples += samples
        now = time.monotonic()
        self._busy += now - self._since
        self._since = now

    def pause(self) -> None:
        """Leave the time since the last step out of the speed."""
        self._since = time.monotonic()

    def mean(self, name: str) -> float:
        return self._sums[name] / self._steps

    def rate(self) -> float:
        """Return samples per second."""
        return self._samples / max(self._busy, 1e-9)

    def flush(self) -> dict[str, float]:
        """Return means, maxima, the largest change of the loss between steps, speed, and the share of waiting."""
        summary = {name: self.mean(name) for name in self._sums}
        summary |= {"img_per_s": self.rate(), "data_wait": self._waited / max(self._busy, 1e-9)}
        summary |= self._largest | {"loss_jump": self._jump[0], "loss_jump_step": self._jump[1]}
        self._reset()
        return summary
