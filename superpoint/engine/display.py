"""What a person sees of a running training: a progress bar in a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

PLAIN_SECONDS = 30.0  # between lines where there is no terminal


class Display:
    """Progress on stderr; silent if not `enabled` (processes other than the first). Use as a context manager."""

    def __init__(self, *, enabled: bool = True, console: Console | None = None) -> None:
        self.enabled = enabled
        self.console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._shown = time.monotonic()
        if enabled and self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=2)
            self._task = self._bar.add_task("starting", total=1.0)

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

    def update(self, progress: float, elapsed: float, step: int, fields: dict[str, float]) -> None:
        """Show `fields` and the time left, from `progress` 0..1 and `elapsed` seconds of the whole run."""
        if not self.enabled:
            return
        left = elapsed / progress - elapsed if progress > 0 else float("nan")
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in fields.items())
        line = f"step {step}  {numbers}  ETA {format_seconds(left)}"
        if self._bar is not None:
            self._bar.update(self._task, completed=min(progress, 1.0), description=line)
        elif time.monotonic() - self._shown >= PLAIN_SECONDS:
            self._shown = time.monotonic()
            self.message(f"{100 * min(progress, 1.0):5.1f} %  {line}")


def format_seconds(seconds: float) -> str:
    """Return seconds as a person reads them: 3725 -> "1:02:05", 65 -> "1:05"; "?" if unknown."""
    if seconds != seconds or seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
