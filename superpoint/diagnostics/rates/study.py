"""Stage lr-study: short runs over a grid of learning rates and momenta, compared.

Plain SGD on one fixed batch of unaugmented scenes, without clipping or schedule: the curves show the optimiser alone.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
from lightning_fabric import Fabric
from matplotlib.figure import Figure
from rich.console import Console
from torch import nn
from torch.utils.data import default_collate

from superpoint.config import MagicPointConfig, OptimizerConfig
from superpoint.data.samples import SyntheticShapes
from superpoint.engine import make_fabric
from superpoint.engine.display import watch
from superpoint.engine.loop import Batch, Objective
from superpoint.engine.optimizers import make_optimizer
from superpoint.errors import UserError, check_number
from superpoint.evaluation.tables import format_cell, make_table
from superpoint.files import make_folder, write_json
from superpoint.models import build_model
from superpoint.training.detector_validation import detector_objective
from superpoint.visualize import save_figure

EXPLOSION = 3.0  # a loss of so many times the first one has diverged
UNSTEADY = 0.15  # oscillation from which on a curve oscillates; healthy curves on a fixed batch stay below 0.1
FLAT = 0.02  # share of itself by which a smoothed loss that lies still falls, at most, over the last third
MOVED = 0.1  # share of the first loss by which a curve must have left it; one that has not is slow, not stuck
TARGET = 0.25  # of the first loss. Half is reached by saying "no point" everywhere; a quarter needs places
SMOOTHING = 0.8  # decay of the moving average of the loss


@dataclass(frozen=True)
class Curve:
    """One short run of SGD at a constant rate.

    Attributes:
        losses: of each step, all on the same batch, up to a divergence.
        diverged: step at which the loss was not finite or above `EXPLOSION` times the first one; None otherwise.
    """

    rate: float
    momentum: float
    losses: list[float]
    diverged: int | None = None

    @property
    def verdict(self) -> str:
        """Return the first that holds.

        diverged. oscillates: late in the run the loss climbs more than UNSTEADY above its lowest value. good: the
        average (`smooth`) ends at TARGET of the first loss. stuck: it lies still above that, though the loss had left
        its first value; as a rule a first jump has killed what had to be learnt. slow: the loss still falls.
        """
        if self.diverged is not None:
            return f"diverged, step {self.diverged}"
        if oscillation(self.losses) > UNSTEADY:
            return "oscillates"
        if smooth(self.losses)[-1] <= TARGET * self.losses[0]:
            return "good"
        return "stuck" if lies_still(self.losses) else "slow"


def lr_study(
    config: MagicPointConfig,
    out: str | Path,
    *,
    rates: Sequence[float],
    momenta: Sequence[float],
    steps: int = 120,
) -> list[Curve]:
    """Train every combination from the same weights on the same `config.train.batch_size` scenes.

    Of `config.optimizer` only the weight decay counts. Writes lr_study.png and .json to `out`. Returns the curves,
    momentum by momentum.

    Raises:
        UserError: a rate that is not above 0, a momentum outside 0..0.9999, fewer than 6 steps, a `data.overfit` other
            than the batch, or several processes.
    """
    for rate in rates:
        check_number("--rates", rate, 0, above=True)
    for momentum in momenta:
        check_number("--momenta", momentum, 0, 0.9999)
    check_number("--steps", steps, 6)
    size = config.train.batch_size
    if config.data.overfit not in (0, size):
        raise UserError(f"data.overfit: found {config.data.overfit}, expected 0 or train.batch_size={size}")
    folder = make_folder(out)
    fabric = make_fabric(config.train)
    if fabric.world_size > 1:
        raise UserError(f"lr-study: found {fabric.world_size} processes, expected 1 (no torchrun)")
    dataset = SyntheticShapes(replace(config.data, overfit=size), config.seed, config.model.channels)
    batch = default_collate([dataset[index] for index in range(size)])
    objective = detector_objective(config)

    curves = []
    for momentum, rate in watch([(momentum, rate) for momentum in momenta for rate in rates], "runs"):
        model = build_model(config.model, config.seed)
        objective.initialise(model.detector)
        if config.train.channels_last:
            model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        optimizer = OptimizerConfig("sgd", rate, config.optimizer.weight_decay, momentum=momentum)
        curves.append(_descend(fabric, model, objective, batch, optimizer, steps))
        if not curves[-1].losses:
            raise UserError("lr-study: the loss of the untrained network is not finite")

    scenes = f"{size} scenes of {config.data.height}x{config.data.width}"
    title = f"Learning rate and momentum: SGD, {scenes}, {config.model.encoder}, {steps} steps"
    save_figure(folder / "lr_study.png", lr_study_figure(curves, f"{title}\n{recommendation(curves)}"))
    # The losses of a diverged run end before that step, so all are finite.
    write_json(folder / "lr_study.json", [asdict(curve) | {"verdict": curve.verdict} for curve in curves])
    table = make_table(title, [], ["rate", "momentum", "loss at the end", "verdict"])
    for curve in curves:
        end = None if curve.diverged is not None else smooth(curve.losses)[-1]
        table.add_row(f"{curve.rate:g}", f"{curve.momentum:g}", format_cell(end), curve.verdict)
    console = Console()
    console.print(table)
    console.print(recommendation(curves), soft_wrap=True)
    console.print(f"curves: {folder / 'lr_study.png'}, lr_study.json", soft_wrap=True, highlight=False)
    return curves


def recommendation(curves: Sequence[Curve]) -> str:
    """Return the setting to begin with, in a sentence: the good curve of the lowest loss."""
    good = [curve for curve in curves if curve.verdict == "good"]
    if not good:
        return "recommended: none of these; no rate is good, try others between those that are slow and oscillate"
    best = min(good, key=lambda curve: smooth(curve.losses)[-1])
    return f"recommended: rate {best.rate:g} with momentum {best.momentum:g}, the lowest loss of the {len(good)} good"


def _descend(
    fabric: Fabric, model: nn.Module, objective: Objective, batch: Batch, optimizer: OptimizerConfig, steps: int
) -> Curve:
    wrapped, stepper = fabric.setup(model, make_optimizer(model, optimizer))
    wrapped.train()
    batch = fabric.to_device(batch)
    losses: list[float] = []
    for step in range(steps):
        loss = objective(wrapped, batch)["loss"]
        value = float(loss.detach())
        if not math.isfinite(value) or value > EXPLOSION * (losses[0] if losses else value):
            return Curve(optimizer.lr, optimizer.momentum, losses, step)
        losses.append(value)
        fabric.backward(loss)
        stepper.step()
        stepper.zero_grad()
    return Curve(optimizer.lr, optimizer.momentum, losses)


def smooth(losses: Sequence[float], decay: float = SMOOTHING) -> list[float]:
    """Return the exponential moving average without its bias towards 0 at the start."""
    average, smoothed = 0.0, []
    for step, loss in enumerate(losses):
        average = decay * average + (1 - decay) * loss
        smoothed.append(average / (1 - decay ** (step + 1)))
    return smoothed


def oscillation(losses: Sequence[float]) -> float:
    """Return how far a curve of 6 steps or more climbs above its lowest loss since the first third, as a share of it.

    Losses below 1e-4 count as 1e-4.
    """
    if len(losses) < 6:
        raise ValueError(f"losses: found {len(losses)} steps, expected at least 6")
    late = np.asarray(losses, float)[len(losses) // 3 :].clip(min=1e-4)
    return float((late / np.minimum.accumulate(late)).max() - 1)


def lies_still(losses: Sequence[float]) -> bool:
    """Return whether a curve has moved and falls no longer."""
    smoothed, third = smooth(losses), len(losses) // 3
    moved = max(abs(loss - losses[0]) for loss in losses) > MOVED * losses[0]
    return moved and smoothed[-1] > (1 - FLAT) * smoothed[-1 - third]


def lr_study_figure(curves: Sequence[Curve], title: str) -> Figure:
    """Draw loss over steps: one panel per momentum, one colour per rate (dark = small), a cross at a divergence."""
    momenta = list(dict.fromkeys(curve.momentum for curve in curves))
    rates = sorted({curve.rate for curve in curves})
    figure = Figure(figsize=(max(4.2 * len(momenta), 5.5), 5.4), dpi=100, layout="constrained")
    panels = figure.subplots(1, len(momenta), sharex=True, sharey=True, squeeze=False)[0]
    first = curves[0].losses[0]
    top = EXPLOSION * first
    # The bright end of the map is too faint on white.
    colors = dict(zip(rates, matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(rates))), strict=True))
    for axes, momentum in zip(panels, momenta, strict=True):
        for curve in (each for each in curves if each.momentum == momentum):
            color = colors[curve.rate]
            axes.plot(curve.losses, color=color, linewidth=1.7, label=f"{curve.rate:g}: {curve.verdict}")
            if curve.diverged is not None:
                axes.plot(curve.diverged, top, "x", color=color, markersize=9, markeredgewidth=2.5, clip_on=False)
        label = f"target: {TARGET:g} of the first loss"
        axes.axhline(TARGET * first, color="0.4", linewidth=1, linestyle=(0, (1, 2)), label=label)
        axes.set(title=f"momentum {momentum:g}", xlabel="step", yscale="log", ylim=(None, top))
        axes.grid(alpha=0.3, which="both")
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 2}  # below, where no curve runs
        axes.legend(title="learning rate", fontsize="small", title_fontsize="small", **place)
    panels[0].set_ylabel("loss on the fixed batch (nats a cell)")
    figure.suptitle(title)
    return figure
