"""What may look into single training steps, and that it lets go of the model however the training ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import nn


class Probe(Protocol):
    """Looks into single steps of the first process; what it returns is logged as the event "probe"."""

    def before_step(self, model: nn.Module) -> None:
        """Before the forward pass; `model` is in training mode."""
        ...

    def before_update(self, model: nn.Module) -> None:
        """When the gradients are final (averaged, clipped), before the optimiser uses them."""
        ...

    def after_update(self, model: nn.Module) -> dict[str, Any]:
        """After the optimiser's step: the numbers to log, in nested dicts if need be."""
        ...

    def detach(self) -> None:
        """Leave nothing on the model, whatever has happened since `before_step`; may be called at any time."""
        ...


@contextmanager
def detached_afterwards(probe: Probe | None) -> Iterator[None]:
    """Detach the probe at the end, also after an exception: NaN, an error of the objective, Ctrl-C twice."""
    try:
        yield
    finally:
        if probe is not None:
            probe.detach()
