"""What the checks of a classifier look at, and how it is read from a run folder."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from superpoint.classification.checks import CLASSIFIER_CHECKS
from superpoint.classification.config import ClassifierConfig
from superpoint.classification.data.dataset import ClassifierInput, TrainingImages
from superpoint.classification.data.images import ClassImages
from superpoint.classification.objective import ClassifierObjective
from superpoint.classification.training import INPUT, build, read_data
from superpoint.config import load_config
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.reading import RunReading, read_weights
from superpoint.engine.run import RunFolder
from superpoint.files import read_text
from superpoint.models.weights import load_model_state


@dataclass(frozen=True)
class ClassifierCase(Case):
    """A `Case` of stage train-classifier; its samples are image uint8 [C, H, W], label and index int64."""

    config: ClassifierConfig  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]
    dataset: TrainingImages  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]
    objective: ClassifierObjective  # type: ignore[assignment]
    training: ClassImages = field(kw_only=True)
    test: ClassImages = field(kw_only=True)
    spec: ClassifierInput = field(kw_only=True)

    range_batch = 16

    @property
    def classes(self) -> int:
        return len(self.spec.classes)

    @property
    def chance(self) -> float:
        return self.objective.initial_loss

    def samples(self, count: int, first: int | None = None) -> list[dict[str, Tensor]]:
        return [self.dataset[(first or 0) + index] for index in range(count)]

    def fresh(self, init: str | None = None, *, pretrained: bool = False) -> nn.Module:
        del pretrained  # a classifier begins with what `weights` names, or with nothing
        settings = self.config.model if init is None else replace(self.config.model, init=init)
        return build(settings, self.spec, self.config.seed)

    def fresh_loss(self) -> float:
        batch = self.batch(min(64, self.config.train.batch_size))
        with torch.no_grad():
            logits = self.fresh().train()(self.spec.normalise(batch["image"]))
        return float(self.objective.cross_entropy(logits, batch["label"]))

    def range_data(self) -> TrainingImages:
        return self.dataset


def read_classifier_case(run: str | Path) -> ClassifierCase:
    case = read_classifier_run(run).case
    assert isinstance(case, ClassifierCase)
    return case


def read_classifier_run(run: str | Path) -> RunReading:
    """Read the run folder of a classifier, see `diagnostics.reading.read_run`. Raises: UserError."""
    source = RunFolder.existing(run)
    history = source.history()
    config = load_config(ClassifierConfig, source.config_file)
    path, state, step = read_weights(source)
    data = read_data(config)
    written = source.path / INPUT
    if written.is_file():
        found = json.loads(read_text(written))
        data = replace(data, spec=replace(ClassifierInput.from_json(found, written), test_crops=1))
    model = build(config.model, data.spec)
    load_model_state(model, state, path)
    case = ClassifierCase(
        config=config,
        dataset=data.dataset(config),
        model=model.eval(),
        objective=ClassifierObjective(data.spec, config.label_smoothing, config.seed),
        history=history.entries,
        folder=source.path,
        training=data.train,
        test=data.test,
        spec=data.spec,
    )
    return RunReading(case, CLASSIFIER_CHECKS, history, path, step)


OTHER_RUNS = {ClassifierConfig.stage: read_classifier_run}  # for `diagnostics.doctor.doctor`
