"""What the checks of a classifier look at, and how it is read from a run folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from superpoint.classification.config import ClassifierConfig
from superpoint.classification.data.dataset import (
    ClassifierInput,
    TrainingImages,
    load_images,
    measure_input,
    open_images,
)
from superpoint.classification.data.images import ClassImages
from superpoint.classification.model import build_classifier
from superpoint.classification.objective import ClassifierObjective
from superpoint.config import load_config
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.reading import RunReading, read_weights
from superpoint.engine.run import RunFolder
from superpoint.models.weights import load_model_state

OBSERVED = 64  # images


@dataclass(frozen=True)
class ClassifierCase(Case):
    """A `Case` of stage train-classifier; its samples are image uint8 [C, H, W], label and index int64.

    Attributes:
        training, test: the images.
        spec: classes and normalisation.
    """

    config: ClassifierConfig  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]
    dataset: TrainingImages  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]
    objective: ClassifierObjective  # type: ignore[assignment]
    training: ClassImages = field(kw_only=True)
    test: ClassImages = field(kw_only=True)
    spec: ClassifierInput = field(kw_only=True)

    def samples(self, count: int, first: int | None = None) -> list[dict[str, Tensor]]:
        return [self.dataset[(first or 0) + index] for index in range(count)]

    def fresh(self) -> nn.Module:
        """The network before its first step, drawn from the seed."""
        return fresh_network(self.config, self.spec)


def fresh_network(config: ClassifierConfig, spec: ClassifierInput) -> nn.Module:
    model, size = config.model, (spec.height, spec.width)
    return build_classifier(
        model.name, len(spec.classes), spec.channels, size, init=model.init, options=model.options, seed=config.seed
    )


@dataclass(frozen=True)
class Observation:
    """The network in evaluation mode on training samples.

    Attributes:
        image: normalised input float32 [B, C, H, W].
        logits: float32 [B, K].
        loss: of the objective.
        dead: by name of the activation, the share of its channels that are zero for all images.
    """

    image: Tensor
    logits: Tensor
    loss: float
    dead: dict[str, float]


def observe(case: ClassifierCase) -> Observation:
    """Made at the first call and kept with the case."""
    if "_classifier_observation" not in vars(case):
        vars(case)["_classifier_observation"] = _observe(case)
    return vars(case)["_classifier_observation"]


def _observe(case: ClassifierCase) -> Observation:
    batch = case.batch(OBSERVED)
    image = case.spec.normalise(batch["image"])
    dead: dict[str, float] = {}
    handles = []
    for name, module in case.model.named_modules():
        if isinstance(module, (nn.ReLU, nn.ReLU6)):

            def hook(_: nn.Module, __: Any, output: Tensor, name: str = name) -> None:
                calls = sum(key.split(" ")[0] == name for key in dead)  # a residual block uses one module repeatedly
                values = output.detach().transpose(0, 1).flatten(1).amax(dim=1)
                key = f"{name} (call {calls + 1})" if calls else name
                dead[key] = float((values <= 0).float().mean())

            handles.append(module.register_forward_hook(hook))
    training = case.model.training
    try:
        with torch.no_grad():
            logits = case.model.eval()(image).float()
    finally:
        case.model.train(training)
        for handle in handles:
            handle.remove()
    loss = float(case.objective.cross_entropy(logits, batch["label"]))
    return Observation(image, logits, loss, dead)


def read_classifier_case(run: str | Path) -> ClassifierCase:
    """The case of a classifier's run folder, see `read_classifier_run`."""
    case = read_classifier_run(run).case
    assert isinstance(case, ClassifierCase)
    return case


def read_classifier_run(run: str | Path) -> RunReading:
    """As `diagnostics.reading.read_run`, of a classifier. Raises: UserError, also if its images have moved."""
    source = RunFolder.existing(run)
    history = source.history()
    config = load_config(ClassifierConfig, source.config_file)
    path, state, step = read_weights(source)
    parts = open_images(config.data, config.seed)
    training, test = (load_images(config.data, images) for images in parts)
    spec, axes = measure_input(training, config.data, config.augment)
    written = source.path / "classes.json"
    if written.is_file():
        found = json.loads(written.read_text(encoding="utf-8"))
        spec = replace(ClassifierInput.from_json(found, written), test_crops=1)
    model = fresh_network(config, spec)
    load_model_state(model, state, path)
    case = ClassifierCase(
        config=config,
        dataset=TrainingImages(training, spec, config.augment, axes, config.seed),
        model=model.eval(),
        objective=ClassifierObjective(spec, config.label_smoothing, config.seed),
        history=history.entries,
        folder=source.path,
        training=training,
        test=test,
        spec=spec,
    )
    return RunReading(case, history, path, step)
