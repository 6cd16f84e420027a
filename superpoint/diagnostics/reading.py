"""From a run folder to a case."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from superpoint.config import load_run_config
from superpoint.data.mixture import Mixture
from superpoint.data.samples import KeypointSamples
from superpoint.data.sources.photographs import LabelledPhotographs
from superpoint.data.training_set import training_samples
from superpoint.data.warped_pairs import SingleViews
from superpoint.diagnostics.case import Case, crash_files, read_crash
from superpoint.diagnostics.diagnosis import checks_of
from superpoint.diagnostics.finding import Check
from superpoint.engine.run import History, RunFolder
from superpoint.errors import UserError
from superpoint.models import build_model
from superpoint.models.checkpoint import load_checkpoint
from superpoint.models.weights import load_model_state
from superpoint.training.objectives import detector_objective


@dataclass(frozen=True)
class RunReading:
    """The case of a run folder, its checks, and the weights' file and step."""

    case: Case
    checks: Mapping[str, Check]
    history: History
    weights: Path
    step: int


def read_case(run: str | Path) -> Case:
    return read_run(run).case


def read_run(run: str | Path) -> RunReading:
    """Read configuration, history, network (the trained weights, not their average) and data of a run folder.

    The weights are in checkpoints/last.ckpt, else best.ckpt, else, after an early NaN, in nonfinite_step_<n>.pt.

    Raises: UserError: no run folder, a damaged configuration, no checkpoint, or a damaged or different one.
    """
    source = RunFolder.existing(run)
    history = source.history()
    config = load_run_config(source.config_file)
    path, state, step = read_weights(source)
    model = build_model(config.model, config.seed, pretrained=False)
    load_model_state(model, state, path)
    dataset = training_samples(config.data, config.seed, config.model.channels)
    case = Case(
        config=config,
        dataset=dataset,
        model=model.eval(),
        objective=detector_objective(config),
        history=history.entries,
        photographs=photographs_of(dataset),
        folder=source.path,
    )
    return RunReading(case, checks_of(case), history, path, step)


def photographs_of(dataset: KeypointSamples | Mixture | SingleViews) -> LabelledPhotographs | None:
    if isinstance(dataset, Mixture):
        dataset = dataset.second
    source = dataset.pairs.source if isinstance(dataset, SingleViews) else getattr(dataset, "source", None)
    return source if isinstance(source, LabelledPhotographs) else None


def read_weights(run: RunFolder) -> tuple[Path, Mapping[str, Tensor], int]:
    """Return file, network state and step of a run. Raises: UserError, no checkpoint or a damaged one."""
    for path in (run.last, run.best):
        if path.is_file():
            checkpoint = load_checkpoint(path)
            return path, checkpoint["model"], int(checkpoint["step"])
    crashes = crash_files(run.path)
    if crashes:
        crash = read_crash(crashes[-1])
        return crash.path, crash.weights, crash.step
    raise UserError(
        f"{run.path}: found no checkpoint, expected checkpoints/last.ckpt or checkpoints/best.ckpt; "
        "the first is written at the first validation or after train.checkpoint_minutes"
    )
