"""Progress of an export: a bar in a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from superpoint.engine.display import PLAIN_SECONDS, format_seconds


class ExportProgress:
    """On stderr. A context manager.

    Of several `processes` the one of rank 0 alone shows how far it is; each says what it meets.

    total: units of work of this process, of which `done` were finished by sessions before. Units are images, or tars
    where the number of images is not known.
    """

    def __init__(
        self,
        total: int,
        done: int,
        unit: str,
        *,
        rank: int = 0,
        processes: int = 1,
        console: Console | None = None,
    ) -> None:
        self.total, self.done, self.unit = total, done, unit
        self.images = self.skipped = 0  # of this session
        self.shown = rank == 0
        self.label = f"process {rank + 1} of {processes}  " if processes > 1 else ""
        self.console = console or Console(stderr=True)
        self._before = done
        self._began = self._printed = time.monotonic()
        self._bar: Progress | None = None
        if self.shown and self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:g}/{task.total:g}"))
            self._bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=2)
            self._task = self._bar.add_task(unit, total=total, completed=done)

    def __enter__(self) -> ExportProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def rate(self) -> float:
        """Images a second of this session."""
        return self.images / max(time.monotonic() - self._began, 1e-9)

    def image(self, *, skipped: bool) -> None:
        self.images += 1
        self.skipped += skipped
        if self.unit == "images":
            self.done += 1
        self._show()

    def part(self) -> None:
        if self.unit != "images":
            self.done += 1
            self._show()

    def message(self, text: str, *, warning: bool = False) -> None:
        """Print a line above the bar."""
        self.console.print(Text(text, style="bold yellow" if warning else ""), soft_wrap=True)

    def line(self) -> str:
        elapsed, new = time.monotonic() - self._began, self.done - self._before
        left = elapsed / new * (self.total - self.done) if new else float("nan")
        return f"{self.label}{self.rate:.2f} images/s  skipped {self.skipped}  ETA {format_seconds(left)}"

    def _show(self) -> None:
        if not self.shown:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description=self.line())
        elif time.monotonic() - self._printed >= PLAIN_SECONDS:
            self._printed = time.monotonic()
            self.message(f"{self.unit} {self.done}/{self.total}  {self.line()}")
