"""Checks of what a run has logged: its first loss, its step sizes, its validations, its end."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.jumps import gradient_jump
from superpoint.diagnostics.checks.rate import learning_rate
from superpoint.diagnostics.checks.trend import (
    GROWN,
    expected_initial_loss,
    kernel_growth,
    last_crash,
    number,
    sentence,
    windows,
)
from superpoint.diagnostics.crash import Crash, crash_files
from superpoint.diagnostics.finding import Finding, Status
from superpoint.engine.run import score
from superpoint.geometry.cells import CELL, CHANNELS
from superpoint.models import build_model
from superpoint.training.objectives import detector_objective

__all__ = ["gradient_jump", "initial_loss", "learning_rate", "nonfinite", "overfitting"]

INITIAL_TOLERANCE = 0.1  # of the expected initial loss. Healthy: within 0.01
SIGNATURE_TOLERANCE = 0.05  # of the value of a known mistake
RISE_WARN, RISE_FAIL = 0.05, 0.25  # validation loss over its minimum, minus 1. Healthy: 0
TRAIN_FALL = 0.03  # share by which the training loss falls meanwhile, before the two count as parting
# Validation loss over training loss. Healthy: 0.65 (what trains is harder); two images: 50. Where the two are not of
# the same kind (photographs against mostly shapes) their level says nothing: over the ratio at the first validation.
GAP_WARN, GAP_FAIL = 2.0, 4.0
AP_FALL = 0.05  # of average precision from its best, where no validation loss was logged. Healthy: 0
VALIDATIONS = 3  # fewer have no trend


def initial_loss(case: Case) -> Finding:
    """The loss of the untrained network is ln 65 = 4.174: every class equally likely.

    A run from trained weights, or of a descriptor too, begins elsewhere: of these a fresh network is judged instead.
    """
    expected = expected_initial_loss(case.config)
    events = case.events("initial_loss")
    logged = number(events[0], "loss") if events else None
    fresh = not events or case.config.weights is not None or events[0].get("expected", expected) is None
    broken = bool(events) and logged is None  # not finite
    loss = logged if broken or not fresh else _fresh_loss(case)
    details = {"loss": loss, "expected": expected, "logged": logged}
    source = "of a fresh network, since the run logged none" if not events else "logged before the first update"
    if loss is None or not math.isfinite(loss):
        cause = "NaN or infinity in the images, the initial weights or the loss."
        remedy = "Compute the loss of a single sample in float32 (train.precision=fp32), layer by layer."
        evidence = f"Initial loss not finite ({source}), expected {expected:.3f}."
        return Finding("initial_loss", Status.FAIL, evidence, cause, remedy, details | {"loss": None})
    evidence = f"Initial loss {loss:.4g} ({source}), expected ln 65 = {expected:.3f} within 10%."
    if events and fresh:
        start = f"from {case.config.weights}" if case.config.weights is not None else "with further parts of the loss"
        evidence = (
            f"Starts {start} at {logged:.4g}, not judged against ln 65; the detector loss of a fresh network is "
            f"{loss:.4g}, expected {expected:.3f} within 10%."
        )
    if abs(loss - expected) <= INITIAL_TOLERANCE * expected:
        return Finding("initial_loss", Status.PASS, evidence, details=details)
    cause, remedy = _initial_cause(loss, expected, case)
    return Finding("initial_loss", Status.FAIL, evidence, cause, remedy, details)


def _fresh_loss(case: Case) -> float:
    """The objective's loss of a network as the run would begin with, on four samples."""
    model = build_model(case.config.model, case.config.seed, pretrained=False)
    getattr(case.objective, "initialise", detector_objective(case.config).initialise)(model.detector)
    with torch.no_grad():
        return float(case.objective(model.train(), case.batch(4))["loss"])


def _initial_cause(loss: float, expected: float, case: Case) -> tuple[str, str]:
    """Cause and remedy: by the values that known mistakes give, else by the sign of the deviation."""
    cells = -(-case.config.data.height // CELL) * -(-case.config.data.width // CELL)
    batch = case.config.train.batch_size
    mean = "Take the mean over the valid cells (losses.detector_loss does)"
    loss_code = "Compare the loss with losses.detector_loss, which takes logits"
    signatures = [
        (expected * cells * batch, f"Sum over the {batch} x {cells} cells of the batch instead of their mean", mean),
        (expected * cells, f"Sum over the {cells} cells of an image instead of their mean", mean),
        (expected * batch, f"Sum over the {batch} images of the batch instead of their mean", mean),
        (CHANNELS * math.log(2), "65 sigmoids summed up instead of one softmax over 65 classes", loss_code),
        (math.log(2), "65 sigmoids instead of one softmax over 65 classes", loss_code),
        (-1 / CHANNELS, "Logarithm left out: this is -p, not -log p", loss_code),
        (1 - 1 / CHANNELS, "Logarithm left out: this is 1 - p, not -log p", loss_code),
        (expected / math.log(2), "Logarithm to the base 2", loss_code),
        (expected / math.log(10), "Logarithm to the base 10", loss_code),
    ]
    for value, cause, remedy in signatures:
        if abs(loss - value) <= SIGNATURE_TOLERANCE * abs(value):
            return f"{cause} (that gives {value:.4g}).", f"{remedy}."
    if loss > expected:
        return (
            "The head's logits already differ: last layer not initialised to small weights, or labels that contradict "
            "its bias.",
            "Initialise the last layer with a standard deviation of 0.01 (models.superpoint.initialise does) and its "
            "bias by DetectorObjective.initialise.",
        )
    return (
        "The network already knows something (weights of an earlier training, a dustbin bias set without the matching "
        "shift of the loss), or fewer than 65 classes take part.",
        "Start from build_model and DetectorObjective.initialise; check loss weights and the number of logits.",
    )


def overfitting(case: Case) -> Finding:
    """The validation loss rises from its minimum, or stays far above, while the training loss goes on falling."""
    if case.config.data.overfit:
        evidence = f"data.overfit={case.config.data.overfit}: this run is to overfit, nothing to judge."
        return Finding("overfitting", Status.PASS, evidence)
    validations = case.events("validate")
    losses = [(int(e["step"]), value) for e in validations if (value := number(e, "loss")) is not None]
    scores = [(int(e["step"]), value) for e in validations if (value := score(e)) is not None]
    if len(losses) >= VALIDATIONS:
        return _judge_losses(case, losses)
    if len(losses) < len(scores) and len(scores) >= VALIDATIONS:  # runs of old versions logged no validation loss
        return _judge_scores(case, scores)
    count = max(len(losses), len(scores))
    return Finding("overfitting", Status.PASS, f"Validations so far: {count}; a trend needs at least {VALIDATIONS}.")


def _judge_losses(case: Case, losses: list[tuple[int, float]]) -> Finding:
    """From (step, validation loss)."""
    train = [_train_loss(case, step) for step, _ in losses]
    now = train[-1]
    lowest = min(range(len(losses)), key=lambda i: losses[i][1])
    step, best = losses[lowest]
    last = statistics.fmean(value for _, value in losses[lowest + 1 :][-2:] or losses[-1:])  # one may be off
    rise = last / best - 1 if best > 0 else 0.0
    details = {"step": step, "best": best, "last": last, "train_then": train[lowest], "train_now": now}
    shown = f"validation loss {best:.3g} at step {step} (lowest), {last:.3g} at the end"
    if now is None or now <= 0:
        return Finding("overfitting", Status.PASS, sentence(f"{shown}; no training loss beside it"), details=details)
    shown += f"; training loss {train[lowest]:.3g} then, {now:.3g} at the end"
    ratios = [value / loss if loss else 0.0 for (_, value), loss in zip(losses, train, strict=True)]
    ratio, usual = ratios[-1], 1.0
    details["ratio"] = ratio
    if case.config.data.kind == "mixed":
        usual = max(ratios[0], 1.0)
        details["first_ratio"] = ratios[0]
        shown += f"; validated on photographs alone, so their ratio is measured by the first one ({ratios[0]:.3g})"
    fallen = now < (1 - TRAIN_FALL) * (train[lowest] or 0.0)
    if rise > RISE_WARN and fallen:
        return _overfits(f"{shown}: the gap opens from step {step} on", step, rise > RISE_FAIL, details)
    if ratio > GAP_WARN * usual:
        wide = [i for i, each in enumerate(ratios) if each > GAP_WARN * usual]
        since = next(i for i in wide if len(losses) - i == sum(j >= i for j in wide))  # and ever since
        details["step"] = losses[since][0]
        text = f"{shown}, {ratio:.3g} times less: the gap opens from step {details['step']} on"
        return _overfits(text, step if lowest < len(losses) - 1 else None, ratio > GAP_FAIL * usual, details)
    if rise > RISE_WARN:
        shown += ": both got worse, so this is not overfitting (see `gradient_jump`, `learning_rate`)"
    return Finding("overfitting", Status.PASS, sentence(shown), details=details)


def _judge_scores(case: Case, scores: list[tuple[int, float]]) -> Finding:
    """From (step, average precision in validation): never more than a warning."""
    step, best = max(scores, key=lambda pair: pair[1])
    last = scores[-1][1]
    then, now = _train_loss(case, step), _train_loss(case, scores[-1][0])
    details = {"step": step, "best_ap": best, "last_ap": last, "train_then": then, "train_now": now}
    shown = f"average precision {best:.3g} at step {step} (best), {last:.3g} at the end (no validation loss was logged)"
    if best - last > AP_FALL and then is not None and now is not None and now < (1 - TRAIN_FALL) * then:
        text = f"{shown}, while the training loss fell from {then:.3g} to {now:.3g}: the gap opens from step {step} on"
        return _overfits(text, step, False, details)
    return Finding("overfitting", Status.PASS, sentence(shown), details=details)


def _overfits(evidence: str, step: int | None, grave: bool, details: dict[str, Any]) -> Finding:
    """The finding; `step`: from which weights should be taken, None if validation was best at the last one."""
    cause = (
        "the network learns its training images by heart: too few of them, or too little augmentation (if `batchnorm` "
        "fails too, evaluation mode is to blame for the validation instead)"
    )
    remedy = (
        "train on more images, with data.photometric.enable=true and data.homography.enable=true, a larger "
        "optimizer.weight_decay"
    )
    if step is not None:
        remedy = f"use the weights of about step {step} (checkpoints/best.ckpt is the best by AP); {remedy}, less long"
    status = Status.FAIL if grave else Status.WARN
    return Finding("overfitting", status, sentence(evidence), sentence(cause), sentence(remedy), details)


def _train_loss(case: Case, step: int, count: int = 5) -> float | None:
    """Mean training loss of the last windows up to `step`, or of the first one if there is none yet."""
    found = windows(case)
    before = [window.loss for window in found if window.last <= step][-count:] or [w.loss for w in found[:1]]
    return statistics.fmean(before) if before else None


def nonfinite(case: Case) -> Finding:
    """NaN or infinity in the weights, at the end of the run, or in its history."""
    broken = nonfinite_names(case.model.state_dict())
    events = case.events("nonfinite")
    files = crash_files(case.folder) if case.folder is not None else []
    empty = [e["step"] for e in case.events("train") if "loss" in e and None in (e["loss"], e.get("grad_norm", 0.0))]
    last = case.history[-1] if case.history else {}
    ended = last.get("event") == "nonfinite"
    details = {
        "weights": broken[:10],
        "step": last["step"] if ended else None,
        "files": [path.name for path in files],
        "lines": empty[:10],
    }
    remedy = f"divide optimizer.lr by 10 (now {case.config.optimizer.lr:g}), set train.clip_norm=1"
    if case.config.train.precision != "fp32":
        remedy += "; train.precision=fp32 shows whether half precision is to blame"

    def finding(status: Status, evidence: str, cause: str) -> Finding:
        return Finding("nonfinite", status, sentence(evidence), sentence(cause), sentence(remedy), details)

    if ended:
        crash = last_crash(case)
        found = {
            key: "not finite" if number(last, key) is None else f"{last[key]:.4g}" for key in ("loss", "grad_norm")
        }
        evidence = f"the run ended at step {last['step']}: loss {found['loss']}, gradient norm {found['grad_norm']}"
        if crash is None:
            return finding(Status.FAIL, evidence, "an update that was too large, or input that is not finite")
        remedy += f"; batch and weights are in {crash.path.name}"
        place, cause = _place(case, crash)
        return finding(Status.FAIL, f"{evidence}; {place}", cause)
    if broken:
        evidence = f"{len(broken)} tensors of the network hold NaN or infinity, the first is {broken[0]}"
        remedy = f"go back to an earlier checkpoint; {remedy}"
        return finding(Status.FAIL, evidence, "an update that was too large, or a gradient that was not finite")
    if events or files or empty:
        steps = sorted({int(e["step"]) for e in events} | {int(p.stem.rsplit("_", 1)[1]) for p in files} | set(empty))
        shown = ", ".join(str(step) for step in steps[:5])
        evidence = f"loss or gradient was not finite at step {shown}, but the run has gone on"
        return finding(Status.WARN, evidence, "an earlier session ended there, or a single batch overflowed")
    return Finding("nonfinite", Status.PASS, "History and weights are finite.", details=details)


def nonfinite_names(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity, in the order of the network."""
    return [name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]


def _place(case: Case, crash: Crash) -> tuple[str, str]:
    """Where numbers stopped being finite, and the likely cause.

    Parameters are as before the step; batch-norm statistics show how far into the network its numbers were good.
    """
    broken = nonfinite_names(crash.weights)
    statistics_of = [name for name in broken if "running_" in name]
    if len(broken) > len(statistics_of):
        first = next(name for name in broken if name not in statistics_of)
        return f"{first} was not finite before the step", "the update before was too large: it overflowed"
    growth = kernel_growth(case.config, crash.weights)
    grown = f"; the kernels are {growth:.3g} times their initial norm" if growth > GROWN else ""
    cause = "exploding steps: the rate, or rate and momentum together, are too large" if grown else ""
    if statistics_of:
        layer = statistics_of[0].rsplit(".", 1)[0]
        cause = cause or "activations that overflow, or input that is not finite"
        return f"weights finite, the forward pass overflowed at {layer}{grown}", cause
    if math.isfinite(crash.loss):
        return f"the backward pass overflowed{grown}", cause or "a slope that is infinite: log or sqrt at 0"
    return f"weights finite, the output or the loss overflowed{grown}", cause or "exp() or log in the loss"
