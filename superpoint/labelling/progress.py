"""Progress of an export: a bar in a terminal, a line now and then anywhere else."""

import time

from rich.console import Console

from superpoint.engine.display import Display, format_seconds


class ExportProgress(Display):
    """The progress of an export, shown by rank 0; `unit`: what `total` and `done` count, images or tars."""

    def __init__(
        self, total: int, done: int, unit: str, *, rank: int = 0, processes: int = 1, console: Console | None = None
    ) -> None:
        super().__init__(total, done, progress=rank == 0, console=console)
        self.total, self.done, self.unit = total, done, unit
        self.images = self.skipped = 0  # of this session
        self.label = f"process {rank + 1} of {processes}  " if processes > 1 else ""
        self._before = done
        self._began = time.monotonic()

    @property
    def rate(self) -> float:
        """Images per second of this session."""
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

    def line(self) -> str:
        elapsed, new = time.monotonic() - self._began, self.done - self._before
        left = elapsed / new * (self.total - self.done) if new else float("nan")
        return f"{self.label}{self.rate:.2f} images/s  skipped {self.skipped}  ETA {format_seconds(left)}"

    def _show(self) -> None:
        self.show(self.done, f"{self.unit} {self.done}/{self.total}", self.line())
