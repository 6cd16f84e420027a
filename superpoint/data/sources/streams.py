"""Compute ahead of who uses it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
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
    """Yield `load(item)` of each item, in order, up to `ahead` of them computed in advance by threads.

    An exception of `items` or `load` is raised at its place in the order. Closing the iterator stops everything.

    Args:
        interrupted: asked while nothing comes; True ends the iterator.
    """
    iterator = iter(items)
    waiting: deque[Future[T]] = deque()
    ended: Exception | None = None
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        try:
            while True:
                while ended is None and len(waiting) <= ahead:
                    try:
                        waiting.append(pool.submit(load, next(iterator)))
                    except Exception as error:  # StopIteration too
                        ended = error
                if not waiting:
                    break
                while not interrupted() and not wait([waiting[0]], POLL).done:
                    pass
                if interrupted():
                    return
                yield waiting.popleft().result()
            if ended is not None and not isinstance(ended, StopIteration):
                raise ended
        finally:
            for future in waiting:
                future.cancel()
            getattr(iterator, "close", lambda: None)()  # closes the tar
