"""What all trainers share: `fit` trains a model in its run folder, `finish` writes its best weights there."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Dataset

from superpoint.budget import Budget, Phase, print_plan
from superpoint.config import OptimizerConfig, ScheduleConfig, TrainConfig, dump_config, load_config
from superpoint.engine import RunFolder, TrainResult, train
from superpoint.engine.loop import Batch, Objective, Validate
from superpoint.engine.processes import decide
from superpoint.errors import UserError
from superpoint.training.probes import DetectorProbe

AFTER = 6.0  # validations: the last one, tables, findings and report took 5.2 times as long as one in a fine-tuning
MIN_SHARE = 0.5  # of what is left of a budget is for training, whatever follows it


class FitConfig(Protocol):
    """What the configurations of all training stages have."""

    @property
    def run(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def data(self) -> Any: ...  # has `workers`
    @property
    def optimizer(self) -> OptimizerConfig: ...
    @property
    def schedule(self) -> ScheduleConfig: ...
    @property
    def train(self) -> TrainConfig: ...


def fit(
    config: FitConfig,
    fabric: Fabric,
    model: nn.Module,
    objective: Objective,
    dataset: Dataset[Batch],
    validate: Validate,
    *,
    resume: bool = False,
    expected_initial_loss: float | None = None,
    prepare: Callable[[], None] | None = None,
    budget: Budget | None = None,
) -> TrainResult:
    """Train `model` in place in the run folder `config.run`; arguments and errors as of `engine.train`.

    `prepare` is called in the first process once the folder is there. With a `budget`, `train.minutes` is what it
    leaves beside what follows the training, see `training_minutes`.
    """
    if budget is not None:
        chosen = partial(training_minutes, config, fabric, model, validate, budget, resume=resume)
        minutes = decide(chosen, fabric.is_global_zero, fabric.broadcast)
        config = replace(config, train=replace(config.train, minutes=minutes))  # type: ignore[type-var]
    with open_run(config.run, dump_config(config), fabric, resume=resume) as run:
        if prepare is not None and fabric.is_global_zero:
            prepare()
        return train(
            fabric=fabric,
            model=model,
            objective=objective,
            dataset=dataset,
            config=config.train,
            optimizer=config.optimizer,
            schedule=config.schedule,
            run=run,
            validate=validate,
            probe=DetectorProbe(),
            seed=config.seed,
            resume=resume,
            workers=config.data.workers,
            expected_initial_loss=expected_initial_loss,
        )


def training_minutes(
    config: FitConfig, fabric: Fabric, model: nn.Module, validate: Validate, budget: Budget, *, resume: bool
) -> float | None:
    """Return the minutes of a training that ends with `budget`, and print the plan.

    One validation of the untrained model is timed; what follows the training is estimated from that. A run that goes on
    keeps its minutes: the schedule of its learning rate depends on them. Raises: UserError if nothing is left.
    """
    begun = Path(config.run) / "config.yaml"
    if resume and begun.exists():
        minutes = load_config(type(config), begun).train.minutes
        print_plan([Phase(f"go on with a training of {minutes:.3g} min", None, config.run)], budget)
        return minutes
    began = time.monotonic()
    model.to(fabric.device).eval()
    with torch.no_grad(), fabric.autocast():
        validate(model)
    after = AFTER * (time.monotonic() - began)
    if not budget.left:
        raise UserError(f"--minutes: nothing is left for the training in {config.run}; give more, and --resume")
    seconds = max(budget.left - after, MIN_SHARE * budget.left)
    follows = Phase("evaluate, check, report", after, Path(config.run) / "report.html")
    steps = "" if config.train.steps is None else f" at most {config.train.steps:,} steps"
    print_plan([Phase(f"train{steps}", seconds, config.run), follows], budget)
    return seconds / 60


def open_run(path: str, config: str, fabric: Fabric, *, resume: bool) -> RunFolder:
    """Open a run folder in the first process; if that fails, all processes end."""
    run = RunFolder(path, config=config, main=False)

    def open_folder() -> None:
        nonlocal run
        run = RunFolder.open(path, config=config, resume=resume)

    decide(open_folder, fabric.is_global_zero, fabric.broadcast)
    return run


def finish(config: FitConfig, fabric: Fabric, result: TrainResult, export: Callable[[Path, Path], object]) -> None:
    """Call `export(best checkpoint, weights file)`, unless the run was stopped or has its weights; all wait for it."""
    if fabric.is_global_zero and result.signal is None:
        run = RunFolder(config.run)
        if result.trained or not run.weights.exists():
            export(run.best, run.weights)
        else:
            fabric.print(f"weights: {run.weights}")
    fabric.barrier()
