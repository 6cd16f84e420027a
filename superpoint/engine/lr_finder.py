"""Learning-rate range test: which rates make the loss fall, and from which on it explodes.

Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", arXiv 1506.01186, section 3.3; here with an
exponential ramp.
"""

import copy
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset

from superpoint.config import OptimizerConfig
from superpoint.data.sampler import StepSampler
from superpoint.engine.batches import step_batches
from superpoint.engine.display import watch
from superpoint.engine.optimizers import make_optimizer, set_rate
from superpoint.errors import UserError

EXPLOSION = 4.0  # the test stops where the smoothed loss is this many times its lowest value so far


@dataclass(frozen=True)
class RangeTest:
    """The curve of a range test: `losses` [N] (smoothed) at `rates` [N], both float64."""

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float | None  # rate of steepest descent; None if the loss never fell


def lr_range_test(
    *,
    fabric: Fabric,
    model: nn.Module,
    objective: Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]],
    dataset: Dataset[dict[str, Tensor]],
    optimizer: OptimizerConfig,
    batch_size: int,
    steps: int = 100,
    low: float = 1e-6,
    high: float = 1.0,
    smoothing: float = 0.9,
    workers: int = 0,
) -> RangeTest:
    """Train a copy of `model` for `steps` steps while the rate rises exponentially from `low` to `high`.

    Args:
        fabric, objective, dataset, workers: as for `train`.
        optimizer: kind and weight decay; its rate is not used.
        batch_size: samples per step. The rate to find depends on it.
        smoothing: decay of the moving average of the loss (without its bias towards 0).

    Raises: UserError for more than one process, or no range between `low` and `high`.
    """
    if fabric.world_size > 1:
        raise UserError(f"learning-rate finder: found {fabric.world_size} processes, expected 1 (no torchrun)")
    if not 0 < low < high or steps < 2:
        raise UserError(f"learning-rate finder: found low={low}, high={high}, steps={steps}, expected 0 < low < high")
    model = copy.deepcopy(model).to(fabric.device)
    optim = make_optimizer(model, dataclasses.replace(optimizer, lr=low))
    wrapped, stepper = fabric.setup(model, optim)
    wrapped.train()
    batches = step_batches(dataset, StepSampler(batch_size), workers=workers, device=fabric.device, seed=0)

    rates: list[float] = []
    losses: list[float] = []
    average = 0.0
    for step in watch(range(steps), "steps of the range test"):
        rate = low * (high / low) ** (step / (steps - 1))
        set_rate(optim, rate)
        loss = objective(wrapped, fabric.to_device(next(batches)))["loss"]
        average = smoothing * average + (1 - smoothing) * float(loss.detach())
        smooth = average / (1 - smoothing ** (step + 1))
        if not math.isfinite(smooth) or (losses and smooth > EXPLOSION * min(losses)):
            break
        rates.append(rate)
        losses.append(smooth)
        fabric.backward(loss)
        stepper.step()
        stepper.zero_grad()
    return RangeTest(np.array(rates), np.array(losses), steepest_descent(np.array(rates), np.array(losses)))


def steepest_descent(rates: np.ndarray, losses: np.ndarray) -> float | None:
    """Return the rate of `rates` [N] at which `losses` [N] fall fastest per decade, None if they never fall."""
    end = int(np.argmin(losses)) + 1 if len(losses) else 0
    if end < 3:
        return None
    slope = np.gradient(losses[:end], np.log10(rates[:end]))
    return float(rates[int(np.argmin(slope))]) if slope.min() < 0 else None
