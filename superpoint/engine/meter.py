"""Averages and speed of the steps since the last line of the log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Meter:
    """Collects the scalars of steps; only for people to read, no training decision depends on it."""

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
        """Take in step `step`. The clock runs from step to step, `pause` takes out what was not a step."""
        for name, value in scalars.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            if name in ("loss", "grad_norm"):
                self._largest[f"{name}_max"] = max(value, self._largest.get(f"{name}_max", value))
        loss = scalars.get("loss")
        if loss is not None and self._previous is not None and abs(loss - self._previous) > abs(self._jump[0]):
            self._jump = (loss - self._previous, step)
        self._previous = loss
        self._steps += 1
        self._samples += samples
        now = time.monotonic()
        self._busy += now - self._since
        self._since = now

    def pause(self) -> None:
        """Leave the time since the last step (a validation, a checkpoint) out of the speed."""
        self._since = time.monotonic()

    def mean(self, name: str) -> float:
        return self._sums[name] / self._steps

    def rate(self) -> float:
        """Return samples per second."""
        return self._samples / max(self._busy, 1e-9)

    def flush(self) -> dict[str, float]:
        """Return what happened since the last flush, and start anew.

        Means of all scalars; "loss_max" and "grad_norm_max"; "loss_jump", the largest change of the loss from one step
        to the next (with its sign), and "loss_jump_step"; "img_per_s" and "data_wait" (share of the time, 0..1).
        """
        summary = {name: total / self._steps for name, total in self._sums.items()}
        summary |= {"img_per_s": self.rate(), "data_wait": self._waited / max(self._busy, 1e-9)}
        summary |= self._largest | {"loss_jump": self._jump[0], "loss_jump_step": self._jump[1]}
        self._reset()
        return summary
