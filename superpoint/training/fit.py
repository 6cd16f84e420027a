"""What all trainers share: `fit` trains a model in its run folder, `finish` writes its best weights there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Dataset

from superpoint.config import OptimizerConfig, ScheduleConfig, TrainConfig, dump_config
from superpoint.engine import RunFolder, TrainResult, train
from superpoint.engine.loop import Batch, Objective, Validate
from superpoint.engine.processes import decide
from superpoint.training.probes import DetectorProbe


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
) -> TrainResult:
    """Train `model` in place in the run folder `config.run`; arguments and errors as of `engine.train`.

    `prepare` is called in the first process once the folder is there.
    """
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
