"""Read ahead of the network."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
POLL = 0.1  # seconds between two looks whether a wait should end


def read_ahead(
    items: Iterable[S],
    load: Callable[[S], T],
    *,
    threads: int = 2,
    ahead: int = 8,
    interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[T]:
    """Yield `load(item)` of each item, in order, up to `ahead` of them computed in advance.

    An exception of `items` or `load` is raised at its place in the order. Closing the iterator stops everything.

    Args:
        interrupted: asked while nothing comes; True ends the iterator.
    """
    # One more is in the feeder's hand.
    waiting: queue.Queue[Future[T] | BaseException | None] = queue.Queue(max(ahead - 1, 1))
    stopped = threading.Event()

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
                getattr(iterator, "close", lambda: None)()  # closes the tar

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
