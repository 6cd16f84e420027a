"""Each check of a classifier: passes on a healthy case, names the planted fault."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from superpoint.classification.case import ClassifierCase
from superpoint.classification.checks import CLASSIFIER_CHECKS
from superpoint.classification.config import (
    ClassAugmentConfig,
    ClassDataConfig,
    ClassifierConfig,
    ClassifierModelConfig,
)
from superpoint.classification.data.dataset import TrainingImages, measure_input
from superpoint.classification.data.images import ClassImages
from superpoint.classification.objective import ClassifierObjective
from superpoint.classification.training import build
from superpoint.diagnostics.diagnosis import diagnose, verdict
from superpoint.diagnostics.finding import Finding, Status
from tests.classification.data.drawings import draw, drawn

CONFIG = ClassifierConfig(
    data=ClassDataConfig(height=24, width=24),
    augment=ClassAugmentConfig(crop="padded", padding=2),
    model=ClassifierModelConfig(name="two_convolutions"),
)


def lines(losses: list[float], *, test: list[tuple[float, float]] | None = None) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = [{"event": "initial_loss", "step": 0, "loss": 1.1, "expected": 1.0986}]
    for index, loss in enumerate(losses, 1):
        history.append(
            {"event": "train", "step": 20 * index, "loss": loss, "grad_norm": 1.0, "lr": CONFIG.optimizer.lr}
        )
    for index, (loss, accuracy) in enumerate(test or [], 1):
        entry = {"event": "validate", "step": 20 * index, "loss": loss, "accuracy": accuracy, "train_accuracy": 0.99}
        history.append(entry)
    return history


@pytest.fixture
def healthy() -> ClassifierCase:
    training, test = drawn(20), drawn(30).subset([*range(25, 30), *range(55, 60), *range(85, 90)])
    spec = measure_input(training, CONFIG.data, CONFIG.augment)
    model = build(CONFIG.model, spec).train()
    dataset, objective = TrainingImages(training, spec, CONFIG.augment, 0), ClassifierObjective(spec)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    for step in range(60):
        samples = [dataset[20 * step + place] for place in range(20)]
        batch = {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
        optimizer.zero_grad()
        objective(model, batch)["loss"].backward()
        optimizer.step()
    history = lines([1.0, 0.7, 0.5, 0.4, 0.3, 0.3], test=[(0.9, 0.5), (0.6, 0.8), (0.4, 0.9), (0.4, 0.9)])
    return ClassifierCase(
        config=CONFIG, dataset=dataset, model=model.eval(), objective=objective, history=history,
        training=training, test=test, spec=spec,
    )  # fmt: skip


def find(case: ClassifierCase, name: str) -> Finding:
    return CLASSIFIER_CHECKS[name](case)


def test_a_healthy_run_passes_all(healthy: ClassifierCase) -> None:
    findings = diagnose(healthy, checks=CLASSIFIER_CHECKS)
    assert [finding.check for finding in findings] == list(CLASSIFIER_CHECKS)
    assert verdict(findings) == "8 PASS"


def test_input_of_other_images(healthy: ClassifierCase) -> None:
    wrong = replace(healthy.spec, mean=[0.9] * 3, deviation=[0.01] * 3)
    assert find(replace(healthy, spec=wrong), "input").status is Status.FAIL
    black = replace(healthy.training, read=lambda _: np.zeros((24, 24, 3), np.uint8))
    dataset = TrainingImages(black, healthy.spec, CONFIG.augment, 0)
    assert "constant" in find(replace(healthy, dataset=dataset), "input").evidence
    assert find(replace(healthy, dataset=dataset), "input").status is Status.FAIL


def test_labels_uneven_doubled_or_leaked(healthy: ClassifierCase) -> None:
    few = healthy.training.subset([*range(20), 20, *range(40, 60)])
    assert find(replace(healthy, training=few), "labels").status is Status.WARN
    leaked = find(replace(healthy, test=healthy.training.subset([0, 1, 2])), "labels")
    assert leaked.status is Status.FAIL
    assert "not unseen" in leaked.cause
    same = ClassImages(["a", "b"], np.array([0, 1]), healthy.spec.classes, lambda _: draw(0, 0))
    doubled = find(replace(healthy, training=same), "labels")
    assert doubled.status is Status.FAIL
    assert "two labels, such as a and b" in doubled.cause


def test_initial_loss(healthy: ClassifierCase) -> None:
    for loss, status in ((1.1, Status.PASS), (2.5, Status.FAIL), (0.2, Status.FAIL)):
        history = [{"event": "initial_loss", "step": 0, "loss": loss}]
        assert find(replace(healthy, history=history), "initial_loss").status is status
    assert "fresh network" in find(replace(healthy, history=[]), "initial_loss").evidence
    started = replace(
        healthy, config=replace(CONFIG, weights="x"), history=[{"event": "initial_loss", "step": 0, "loss": 9.0}]
    )
    assert find(started, "initial_loss").status is Status.PASS


def test_dead_channels(healthy: ClassifierCase) -> None:
    first = healthy.model.get_submodule("features.0")
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    with torch.no_grad():
        first.bias[:6] = -100.0
    found = find(healthy, "dead_relu")
    assert found.status is Status.FAIL
    assert "'features.1' has most dead channels, 75%" in found.evidence


def test_steps_too_large(healthy: ClassifierCase) -> None:
    thrown = find(replace(healthy, history=lines([1.0, 0.8, 6.0, 1.1, 1.1, 1.1])), "gradient_jump")
    assert thrown.status is Status.FAIL
    assert "worse than chance" in thrown.evidence
    assert "momentum" in thrown.remedy
    over = find(replace(healthy, history=lines([1.0, 0.8, 6.0, 0.5, 0.4, 0.3])), "gradient_jump")
    assert over.status is Status.WARN


def test_a_peak_of_the_gradient_after_which_nothing_is_learnt(healthy: ClassifierCase) -> None:
    history = lines([1.1] * 8)
    history[6]["grad_norm_max"] = 60.0
    found = find(replace(healthy, history=history), "gradient_jump")
    assert found.status is Status.FAIL
    assert "60 times the median" in found.evidence
    learnt = [entry | ({"loss": 0.3} if entry["step"] > 140 else {}) for entry in history]
    assert find(replace(healthy, history=learnt), "gradient_jump").status is Status.WARN


def test_nothing_is_learnt(healthy: ClassifierCase) -> None:
    stuck = find(replace(healthy, history=lines([1.1] * 30)), "learning_rate")
    assert stuck.status is Status.FAIL
    assert find(replace(healthy, history=lines([1.1] * 3)), "learning_rate").status is Status.WARN
    rates = np.geomspace(1e-6, 10, 60)
    losses = np.where(rates < 1e-2, 1.1, np.where(rates < 0.1, 0.5, 30.0))
    high = replace(healthy, history=lines([1.1] * 30), rate_curve=(rates.tolist(), losses.tolist()))
    high = replace(high, config=replace(CONFIG, optimizer=replace(CONFIG.optimizer, lr=2.0)))
    assert "rate too high" in find(high, "learning_rate").cause.lower()


def test_learnt_by_heart(healthy: ClassifierCase) -> None:
    worse = lines([0.5, 0.1, 0.01], test=[(0.6, 0.8), (0.5, 0.85), (0.9, 0.8), (1.2, 0.78)])
    found = find(replace(healthy, history=worse), "overfitting")
    assert found.status is Status.FAIL
    assert "weights of about step 40" in found.remedy.lower()
    gap = lines([0.5, 0.1, 0.01], test=[(0.6, 0.7), (0.5, 0.72), (0.5, 0.73)])
    assert find(replace(healthy, history=gap), "overfitting").status is Status.WARN


def test_not_finite(healthy: ClassifierCase) -> None:
    ended = [*healthy.history, {"event": "nonfinite", "step": 130, "loss": None}]
    assert "ended at step 130" in find(replace(healthy, history=ended), "nonfinite").evidence
    with torch.no_grad():
        next(healthy.model.parameters())[0] = torch.nan
    assert find(healthy, "nonfinite").status is Status.FAIL
