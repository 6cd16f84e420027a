"""Stage lr-study: short runs over a grid of learning rates and momenta, compared.

Plain SGD on one fixed batch of unaugmented scenes, without clipping or schedule: the curves show the optimiser alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import nn
from torch.utils.data import default_collate

from superpoint.config import MagicPointConfig, OptimizerConfig
from superpoint.data.samples import SyntheticShapes
from superpoint.diagnostics.rates.figures import (
    EXPLANATION,
    Curve,
    Row,
    is_divergence,
    judge,
    lr_study_figure,
    lr_study_table,
)
from superpoint.engine import make_fabric
from superpoint.engine.loop import Batch, Objective
from superpoint.engine.optimizers import make_optimizer
from superpoint.errors import UserError, check_number
from superpoint.evaluation.tables import markdown_table
from superpoint.files import make_folder, write_json, write_text
from superpoint.models import build_model
from superpoint.training.detector_validation import detector_objective
from superpoint.visualize import save_figure


def lr_study(
    config: MagicPointConfig,
    out: str | Path,
    *,
    rates: Sequence[float],
    momenta: Sequence[float],
    steps: int = 120,
) -> list[Row]:
    """Train every combination from the same weights on the same `config.train.batch_size` scenes.

    Of `config.optimizer` only the weight decay counts. Writes lr_study.png, .md and .json (with the curves) to `out`.
    Returns one row per run, momentum by momentum.

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
    dataset = SyntheticShapes(replace(config.data, overfit=size), config.seed)
    batch = default_collate([dataset[index] for index in range(size)])
    objective = detector_objective(config)

    console, curves, rows = Console(), [], []
    for momentum in momenta:
        for rate in rates:
            model = build_model(config.model, config.seed)
            objective.initialise(model.detector)
            if config.train.channels_last:
                model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            optimizer = OptimizerConfig("sgd", rate, config.optimizer.weight_decay, momentum=momentum)
            curves.append(_descend(fabric, model, objective, batch, optimizer, steps))
            if not curves[-1].losses:
                raise UserError("lr-study: the loss of the untrained network is not finite")
            rows.append(judge(curves[-1]))
            console.print(f"rate {rate:g}, momentum {momentum:g}: {rows[-1].verdict}", highlight=False)

    scenes = f"{size} scenes of {config.data.height}x{config.data.width}"
    title = f"Learning rate and momentum: SGD, {scenes}, {config.model.encoder}, {steps} steps"
    save_figure(folder / "lr_study.png", lr_study_figure(curves, rows, title))
    table = lr_study_table(rows, title)
    # The losses of a diverged run end before that step, so all are finite.
    content = [asdict(row) | {"losses": curve.losses} for curve, row in zip(curves, rows, strict=True)]
    write_json(folder / "lr_study.json", content)
    write_text(folder / "lr_study.md", f"# {title}\n\n{markdown_table(table)}\n{EXPLANATION}\n")
    console.print(table)
    console.print(f"curves: {folder / 'lr_study.png'}; tables: lr_study.md, .json beside it", highlight=False)
    return rows


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
        if is_divergence(value, losses[0] if losses else value):
            return Curve(optimizer.lr, optimizer.momentum, losses, step)
        losses.append(value)
        fabric.backward(loss)
        stepper.step()
        stepper.zero_grad()
    return Curve(optimizer.lr, optimizer.momentum, losses)
