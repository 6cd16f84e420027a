"""Stage train-magicpoint: synthetic shapes or labelled photographs in, a detector out.

    superpoint train-magicpoint --config configs/magicpoint/quick.yaml run=runs/quick
    superpoint train-magicpoint data.kind=labelled data.labels=labels.h5 data.images=photos weights=magicpoint
    torchrun --nproc-per-node 2 scripts/train_magicpoint.py --config configs/magicpoint/paper.yaml

Ends with weights.safetensors, in evaluation/ the synthetic-shapes tables beside the classical detectors, in doctor/ the
findings of the checks, and report.html.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Dataset

from superpoint.config import MagicPointConfig, dump_config
from superpoint.data.training_set import training_samples
from superpoint.engine import RunFolder, TrainResult, make_fabric, train
from superpoint.engine.loop import Validate
from superpoint.errors import UserError
from superpoint.evaluation.evaluate_synthetic import evaluate_run
from superpoint.losses import INITIAL_DETECTOR_LOSS
from superpoint.models import build_model
from superpoint.models.superpoint import SuperPoint
from superpoint.models.weights import export_weights, load_model_state, load_weights
from superpoint.training.detector_validation import DetectorValidation, detector_objective
from superpoint.training.probes import DetectorProbe

WEIGHTS = "weights.safetensors"
NEW = ("descriptor.", "detector.fine.")  # what the names of tensors begin with that the start may lack


def train_magicpoint(config: MagicPointConfig, *, resume: bool = False) -> TrainResult:
    """Train, export the best weights and evaluate them; everything goes to the run folder `config.run`."""
    dataset = training_samples(config.data, config.seed)
    validate = DetectorValidation(config)
    fabric = make_fabric(config.train)
    result = fit_detector(config, fabric, dataset, validate, resume=resume)
    if fabric.is_global_zero and not result.interrupted:
        weights = Path(config.run) / WEIGHTS
        trained = bool(result.metrics)  # not so if a finished run was resumed
        if trained or not weights.exists():
            best = RunFolder(config.run).best
            export_weights(best, weights, metadata={"stage": "magicpoint", "run": Path(config.run).name})
        fabric.print(f"weights: {weights}")
        if config.data.overfit:
            fabric.print("data.overfit: not evaluated on other scenes, since none was to be learnt from")
        else:
            evaluate_run(config.run, images=config.validation.final_images, keep=not trained)
        if config.train.report and trained:
            write_run_report(config.run, fabric)
    fabric.barrier()
    return result


def write_run_report(run: str, fabric: Fabric) -> None:
    """The doctor's findings in one line, and the page about the run."""
    from superpoint.diagnostics.diagnosis import verdict
    from superpoint.diagnostics.doctor import doctor
    from superpoint.diagnostics.report.write import write_report

    try:
        findings = doctor(run, range_test=False, quiet=True)
        fabric.print(f"doctor: {verdict(findings)} (more by: superpoint doctor {run})")
        fabric.print(f"report: {write_report([run])}")
    except UserError as error:  # the run itself is complete
        fabric.print(f"warning: no findings or report: {error}")


def fit_detector(
    config: MagicPointConfig,
    fabric: Fabric,
    dataset: Dataset[dict[str, torch.Tensor]],
    validate: Validate,
    *,
    resume: bool = False,
    monitor_name: str = "AP",
    prepare: Callable[[], None] | None = None,
) -> TrainResult:
    """Train the network of `config` by its objective on `dataset` in the run folder `config.run`.

    `prepare` is called once that folder is there: it may write what `config` names in it.
    """
    model = initial_model(config, pretrained=not (resume and RunFolder(config.run).last.exists()))
    if config.weights is not None:
        fabric.print(f"starting from {config.weights}: all {len(model.state_dict())} tensors loaded")
    with RunFolder.open(config.run, config=dump_config(config), resume=resume, main=fabric.is_global_zero) as run:
        if prepare is not None and fabric.is_global_zero:
            prepare()
        return train(
            fabric=fabric,
            model=model,
            objective=detector_objective(config),
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
            expected_initial_loss=INITIAL_DETECTOR_LOSS if config.weights is None else None,
            monitor_name=monitor_name,
        )


def initial_model(config: MagicPointConfig, *, pretrained: bool = True) -> SuperPoint:
    """The network before its first step: drawn from the seed, or `config.weights`.

    Without `pretrained`, or with such weights, `model.encoder_weights` is not read: it would be replaced anyway.

    Raises: UserError if there are no such weights, or they are of another architecture.
    """
    model = build_model(config.model, config.seed, pretrained=pretrained and config.weights is None)
    if config.weights is None:
        detector_objective(config).initialise(model.detector)
    else:
        load_start(model, config.weights)
    return model


def load_start(model: nn.Module, source: str) -> str:
    """Load what `source` has: all, or all but the descriptor head or the fine branch, which then stay as drawn.

    Returns: a sentence about which tensors were loaded and which are new.

    Raises: UserError if there are no such weights, or they are of another architecture.
    """
    state = load_weights(source)[0]
    new: dict[str, torch.Tensor] = {}
    for part in NEW:
        if not any(name.startswith(part) for name in state):
            new |= {name: tensor for name, tensor in model.state_dict().items() if name.startswith(part)}
    load_model_state(model, {**state, **new}, source)
    loaded = ", ".join(f"{part} ({sum(name.startswith(part) for name in state)})" for part in _parts(state))
    fresh = f"; new: {', '.join(sorted(new))}" if new else "; nothing is new"
    return f"starting from {source}: loaded {len(state)} tensors: {loaded}{fresh}"


def _parts(names: object) -> list[str]:
    return list(dict.fromkeys(str(name).split(".")[0] for name in names))  # type: ignore[attr-defined]
