import threading
import time
from collections.abc import Iterator

import pytest

from superpoint.data.sources.streams import read_ahead


def test_the_order_is_kept_whatever_takes_longer() -> None:
    def load(number: int) -> int:
        time.sleep(0.002 * (number % 3 == 0))
        return number * number

    assert list(read_ahead(range(50), load, threads=4, ahead=8)) == [number**2 for number in range(50)]
    assert list(read_ahead([], load)) == []


def test_it_runs_ahead_but_not_away() -> None:
    started: list[int] = []
    reached = threading.Event()

    def load(number: int) -> int:
        started.append(number)
        if len(started) >= 5:
            reached.set()
        return number

    stream = read_ahead(range(1000), load, threads=2, ahead=4)
    assert next(stream) == 0
    assert reached.wait(10)  # one taken and four waiting, though nobody has asked for them
    time.sleep(0.05)
    assert len(started) <= 6
    stream.close()  # type: ignore[attr-defined]
    assert len(started) <= 8


def test_errors_arrive_at_their_place() -> None:
    def load(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    stream = read_ahead(range(5), load)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(stream)

    def items() -> Iterator[int]:
        yield 0
        raise OSError("broken pipe")

    stream = read_ahead(items(), load)
    assert next(stream) == 0
    with pytest.raises(OSError, match="broken pipe"):
        next(stream)


def test_closing_ends_the_source_and_the_threads() -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            ended.set()

    before = threading.active_count()
    stream = read_ahead(items(), lambda number: number)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert ended.is_set()
    assert threading.active_count() == before
