"""Decoding ahead of the network: images come in order, a bounded number of them waits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
POLL = 0.1  # seconds after which a feeder that waits looks whether it is still wanted


def read_ahead(
    items: Iterable[S],
    load: Callable[[S], T],
    *,
    threads: int = 2,
    ahead: int = 8,
    stopped: threading.Event | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[T]:
    """Yield `load(item)` of each item, in order, at most `ahead` of them before they are asked for.

    `items` is walked in a thread of its own, so a slow pipe is read ahead too. An exception of `items` or of `load` is
    raised at its place in the order. Closing the iterator stops everything.

    Args:
        stopped: set when the iterator is closed, for `items` to look at if it may wait long.
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
