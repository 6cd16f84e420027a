"""Bytes of a file, or of what a command prints (`pipe:command`), that can be given up while none come."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Protocol

from superpoint.errors import UserError

POLL = 0.1  # seconds after which a reader who waits looks whether it is still wanted
GRACE = 5.0  # seconds that a command may take to end after it has closed its output


class Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def never() -> bool:
    return False


class _Pipe:
    """The output of a command; `ended` once all of it has been read."""

    def __init__(self, file: IO[bytes], stopped: Callable[[], bool]) -> None:
        self.file, self.stopped, self.ended = file, stopped, False

    def read(self, size: int = -1, /) -> bytes:
        """`size` bytes, fewer only at the end. Raises: InterruptedError once `stopped()`."""
        pieces: list[bytes] = []
        wanted = size
        while wanted and not self.ended:
            while not select.select([self.file], [], [], POLL)[0]:
                if self.stopped():
                    raise InterruptedError("stopped")
            piece = os.read(self.file.fileno(), 1 << 20 if wanted < 0 else min(wanted, 1 << 20))
            self.ended = not piece
            pieces.append(piece)
            wanted -= len(piece) if wanted > 0 else 0
        return b"".join(pieces)


@contextmanager
def open_stream(url: str, stopped: Callable[[], bool] = never) -> Iterator[Stream]:
    """Open a file, or with `pipe:` the output of a command, which ends with all it has started when the block is left.

    Raises: UserError if the command fails; InterruptedError if `stopped()` while its output is waited for.
    """
    if not url.startswith("pipe:"):
        with open(url, "rb") as file:
            yield file
        return
    # A session of its own, so that not only the shell but all that it has started can be ended.
    with subprocess.Popen(
        url.removeprefix("pipe:"), shell=True, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
    ) as process:
        assert process.stdout is not None
        pipe = _Pipe(process.stdout, stopped)
        try:
            try:
                yield pipe
            except (GeneratorExit, InterruptedError):
                raise
            except Exception:
                if pipe.ended and _fate(process):  # why its output cannot be used
                    raise _failure(url, process) from None
                raise
            while pipe.read(1 << 20):  # the padding at the end, lest the command die of a broken pipe
                pass
            if _fate(process):
                raise _failure(url, process)
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _fate(process: subprocess.Popen[bytes]) -> int | None:
    """Exit code of a command whose output has ended, None if it goes on nevertheless."""
    try:
        return process.wait(GRACE)
    except subprocess.TimeoutExpired:
        return None


def _failure(url: str, process: subprocess.Popen[bytes]) -> UserError:
    return UserError(f"{url}: the command ended with exit code {process.returncode}")
