"""Stage train-magicpoint: synthetic shapes or labelled photographs in, a detector out.

Leaves weights.safetensors; the command adds in evaluation/ the synthetic-shapes tables beside the classical detectors,
in doctor/ the findings of the checks, and report.html.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Dataset

from superpoint.backbones.initialisation import repeated_kernel
from superpoint.backbones.pretrained import GREY_CENTRE, GREY_GAIN
from superpoint.backbones.vgg import ConvBlock
from superpoint.budget import Budget
from superpoint.config import MagicPointConfig
from superpoint.data.training_set import demand_labels, demand_targets, training_samples
from superpoint.engine import RunFolder, TrainResult, make_fabric
from superpoint.engine.loop import Validate
from superpoint.losses import INITIAL_DETECTOR_LOSS
from superpoint.models import build_model
from superpoint.models.superpoint import SuperPoint
from superpoint.models.weights import export_weights, load_model_state, load_weights
from superpoint.training.detector_validation import DetectorValidation, detector_objective
from superpoint.training.fit import finish, fit

NEW = ("descriptor.", "detector.fine.")  # parts of the network that `weights` may lack


def train_magicpoint(config: MagicPointConfig, *, resume: bool = False, budget: Budget | None = None) -> TrainResult:
    """Train and write the best weights; everything goes to the run folder `config.run`."""
    demand_labels(config.data)
    dataset = training_samples(config.data, config.seed, config.model.channels)
    demand_targets(config.data, dataset)
    validate = DetectorValidation(config)
    fabric = make_fabric(config.train)
    result = fit_detector(config, fabric, dataset, validate, resume=resume, budget=budget)
    finish(config, fabric, result, partial(write_weights, stage="magicpoint"))
    return result


def fit_detector(
    config: MagicPointConfig,
    fabric: Fabric,
    dataset: Dataset[dict[str, torch.Tensor]],
    validate: Validate,
    *,
    resume: bool = False,
    budget: Budget | None = None,
) -> TrainResult:
    """Train the network of `config` by its objective on `dataset`, see `fit`."""
    model = initial_model(config, resume=resume, say=fabric.print)
    expected = INITIAL_DETECTOR_LOSS if config.weights is None else None
    objective = detector_objective(config)
    return fit(
        config, fabric, model, objective, dataset, validate,
        resume=resume, expected_initial_loss=expected, budget=budget,
    )  # fmt: skip


def write_weights(checkpoint: Path, path: Path, stage: str) -> None:
    """Write the weights of a run's checkpoint to `path`, with the run's name and stage."""
    export_weights(checkpoint, path, metadata={"stage": stage, "run": path.absolute().parent.name})


def initial_model(
    config: MagicPointConfig, *, resume: bool = False, say: Callable[[str], object] | None = None
) -> SuperPoint:
    """Return the network before its first step: drawn from the seed, or `config.weights`; errors as `load_start`.

    `model.encoder_weights` are not read if these weights, or with `resume` a checkpoint, replace them. `say` is called
    with what `load_start` returns.
    """
    replaced = config.weights is not None or (resume and RunFolder(config.run).last.exists())
    model = build_model(config.model, config.seed, pretrained=not replaced)
    if config.weights is None:
        detector_objective(config).initialise(model.detector)
        return model
    sentence = load_start(model, config.weights)
    if say is not None:
        say(sentence)
    return model


def load_start(model: SuperPoint, source: str) -> str:
    """Load the weights `source` into `model`; a descriptor head or fine branch that they lack stays as drawn.

    A fine branch that the model lacks is dropped. The first layer is adapted where only one of both centres its input,
    and repeated (`repeated_kernel`) where only the weights are for grey images.

    Returns: which tensors were loaded, which are new and which were dropped, in words.

    Raises: UserError if there are no such weights, or they are of another architecture.
    """
    state, settings, _ = load_weights(source)
    dropped = [name for name in state if name.startswith("detector.fine.") and model.detector.fine is None]
    state = {name: tensor for name, tensor in state.items() if name not in dropped}
    first = next(name for name, tensor in model.state_dict().items() if tensor.ndim == 4)
    repeated = model.channels > 1 and settings.get("channels", 1) == 1 and first in state
    if repeated:
        state[first] = repeated_kernel(state[first], model.channels)
    new: dict[str, torch.Tensor] = {}
    for part in NEW:
        if not any(name.startswith(part) for name in state):
            new |= {name: tensor for name, tensor in model.state_dict().items() if name.startswith(part)}
    load_model_state(model, {**state, **new}, source)
    centred = settings.get("centring", True)
    if centred != model.centring:
        _carry_centring(model, centred)
    parts = Counter(name.partition(".")[0] for name in state)
    loaded = ", ".join(f"{part} ({count})" for part, count in parts.items())
    fresh = f"; new: {', '.join(sorted(new))}" if new else "; nothing is new"
    fresh += "; dropped: the fine branch, without which it detects little until it is trained" if dropped else ""
    fresh += "; the first layer adapted to model.centring" if centred != model.centring else ""
    fresh += f"; the first layer repeated for {model.channels} channels" if repeated else ""
    return f"starting from {source}: loaded {len(state)} tensors: {loaded}{fresh}"


def _carry_centring(model: SuperPoint, centred: bool) -> None:
    """Let the first layer compute from its input what it did with the other centring, but for the zero padding.

    With it a kernel w gives sum w (4 grey - 2): a kernel 4 w less a constant, which goes into the mean of its norm.
    """
    first = next(block for block in model.encoder.modules() if isinstance(block, ConvBlock))
    convolution, norm = cast(nn.Conv2d, first[0]), cast(nn.BatchNorm2d, first[1])
    with torch.no_grad():
        norm.get_buffer("running_mean").add_(
            convolution.weight.sum((1, 2, 3)) * (GREY_GAIN * GREY_CENTRE if centred else -GREY_CENTRE)
        )
        convolution.weight.mul_(GREY_GAIN if centred else 1 / GREY_GAIN)
