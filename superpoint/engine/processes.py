"""The processes that torchrun started, or the only one. Nothing distributed is imported for one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from superpoint.errors import UserError

T = TypeVar("T")
PATIENCE = timedelta(days=30)  # the shares may be uneven: the first to finish waits for the last


class Processes:
    """A context manager: `rank` of this process, 0 .. `count` - 1."""

    def __init__(self) -> None:
        """Connect the processes, by gloo; RANK and WORLD_SIZE come from torchrun."""
        self.rank, self.count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        if self.count > 1:
            import torch.distributed

            torch.distributed.init_process_group("gloo", timeout=PATIENCE)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def decide(self, choose: Callable[[], T]) -> T:
        """Return in all processes what `choose()` returns in the first, see `decide`."""
        return decide(choose, self.first, self._broadcast)

    def collect(self, find: Callable[[], T]) -> list[T]:
        """Return what `find()` returns in each process, by rank. A UserError of any ends all; one reports it."""
        outcomes: list[Any] = [_attempt(find)] * self.count
        if self.count > 1:
            import torch.distributed

            torch.distributed.all_gather_object(outcomes, outcomes[0])
        message = next((message for _, message in outcomes if message is not None), None)
        if message is not None:
            _refuse(message, self.first)
        return [value for value, _ in outcomes]

    def _broadcast(self, value: T) -> T:
        if self.count == 1:
            return value
        import torch.distributed

        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        disconnect()


def decide(choose: Callable[[], T], first: bool, broadcast: Callable[[Any], Any]) -> T:
    """Return in all processes what `choose()` returns in the `first`. A UserError ends all; one reports it."""
    value, message = broadcast(_attempt(choose) if first else (None, None))
    if message is not None:
        _refuse(message, first)
    return value


def _attempt(find: Callable[[], T]) -> tuple[T | None, str | None]:
    try:
        return find(), None
    except UserError as error:
        return None, str(error)


def _refuse(message: str, first: bool) -> NoReturn:
    raise UserError(message) if first else SystemExit(2)


def disconnect() -> None:
    """End the connection of the processes, if there is one.

    Gloo's threads must be joined while Python runs: a tensor freed during its shutdown aborts the process.
    """
    if "torch" not in sys.modules:
        return
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
