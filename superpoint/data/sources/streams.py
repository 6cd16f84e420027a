"""Read ahead of the network; streams of files and of commands (`pipe:command`)."""

import os
import queue
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO, Protocol, TypeVar

from superpoint.errors import UserError

S = TypeVar("S")
T = TypeVar("T")
POLL = 0.1  # seconds between two looks whether a wait should end
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
    """Open a file, or the output of a command `pipe:...`, which is killed when the block is left early.

    Raises: UserError if the command fails; InterruptedError if `stopped()` while it prints nothing.
    """
    if not url.startswith("pipe:"):
        with open(url, "rb") as file:
            yield file
        return
    # A session of its own, so that all its processes can be ended.
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
            while pipe.read(1 << 20):  # else the command may die of a broken pipe
                pass
            if _fate(process):
                raise _failure(url, process)
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _fate(process: subprocess.Popen[bytes]) -> int | None:
    """Exit code of a command whose output has ended, None if it goes on."""
    try:
        return process.wait(GRACE)
    except subprocess.TimeoutExpired:
        return None


def _failure(url: str, process: subprocess.Popen[bytes]) -> UserError:
    return UserError(f"{url}: the command ended with exit code {process.returncode}")


def read_ahead(
    items: Iterable[S],
    load: Callable[[S], T],
    *,
    threads: int = 2,
    ahead: int = 8,
    stopped: threading.Event | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[T]:
    """Yield `load(item)` of each item, in order, up to `ahead` of them computed in advance.

    An exception of `items` or `load` is raised at its place in the order. Closing the iterator stops everything.

    Args:
        stopped: set when the iterator is closed; `items` should look at it while it waits.
        interrupted: asked while nothing comes; True ends the iterator.
    """
    # One more is in the feeder's hand.
    waiting: queue.Queue[Future[T] | BaseException | None] = queue.Queue(max(ahead - 1, 1))
    stopped = stopped or threading.Event()

    def put(entry: Future[T] | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=POLL)
                return True
            except queue.Full:
                pass
        return False

    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:

        def feed() -> None:
            iterator = iter(items)
            try:
                for item in iterator:
                    if not put(pool.submit(load, item)):
                        return
                put(None)
            except BaseException as error:
                put(error)
            finally:
                getattr(iterator, "close", lambda: None)()  # ends the command behind a pipe

        feeder = threading.Thread(target=feed, name="feed", daemon=True)
        feeder.start()
        try:
            while not interrupted():
                try:
                    entry = waiting.get(timeout=POLL)
                except queue.Empty:
                    continue
                if entry is None:
                    break
                if isinstance(entry, BaseException):
                    raise entry
                yield entry.result()
        finally:
            stopped.set()
            while not waiting.empty():
                entry = waiting.get_nowait()
                if isinstance(entry, Future):
                    entry.cancel()
            feeder.join()
