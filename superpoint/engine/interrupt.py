"""Ctrl-C and SIGTERM as a request to stop after the current step."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO_SECONDS = 1.0  # torchrun passes on a Ctrl-C that its processes have already had from the terminal


class StopRequest:
    """Within the `with` block the first SIGINT or SIGTERM only sets `signal`; a later one quits at once.

    Outside of the main thread, to which signal handlers belong, it does nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._when = 0.0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._when = number, time.monotonic()
        elif time.monotonic() - self._when > ECHO_SECONDS:
            raise KeyboardInterrupt
