"""Checks of a run's log: its first loss, its validations, its end."""

import math
import statistics
from collections.abc import Mapping

import torch
from torch import Tensor

from superpoint.diagnostics.case import Case, Crash, crash_files
from superpoint.diagnostics.checks.trend import GROWN, initial_loss_of, kernel_growth, number, sentence, windows
from superpoint.diagnostics.finding import Finding, Status
from superpoint.geometry.cells import CELL, CHANNELS

INITIAL_TOLERANCE = 0.1  # of the expected initial loss. Healthy: within 0.02
SIGNATURE_TOLERANCE = 0.05  # of the value of a known mistake
RISE_WARN, RISE_FAIL = 0.05, 0.25  # validation loss over its minimum, minus 1. Healthy: 0
TRAIN_FALL = 0.03  # share by which the training loss falls meanwhile, before the two count as parting
# Validation loss over training loss (of different kinds of data: over the ratio at the first validation).
# Healthy: 0.65; two images: 50.
GAP_WARN, GAP_FAIL = 2.0, 4.0
VALIDATIONS = 3  # fewer have no trend


def initial_loss(case: Case) -> Finding:
    """Does the untrained network have the loss of even odds, ln 65 = 4.174?

    A run from trained weights, or with a descriptor, begins elsewhere: a fresh network is judged instead.
    """
    expected, logged, events = case.chance, initial_loss_of(case), case.events("initial_loss")
    fresh = not events or case.config.weights is not None or events[0].get("expected", expected) is None
    broken = bool(events) and logged is None  # not finite
    loss = logged
    if fresh and not broken:
        with torch.no_grad():
            loss = float(case.objective(case.fresh().train(), case.batch(4))["loss"])
    source = "of a fresh network, since the run logged none" if not events else "logged before the first update"
    if loss is None or not math.isfinite(loss):
        cause = "NaN or infinity in the images, the initial weights or the loss."
        remedy = "Compute the loss of a single sample in float32 (train.precision=fp32), layer by layer."
        evidence = f"Initial loss not finite ({source}), expected {expected:.3f}."
        return Finding("initial_loss", Status.FAIL, evidence, cause, remedy)
    evidence = f"Initial loss {loss:.4g} ({source}), expected ln {CHANNELS} = {expected:.3f} within 10%."
    if events and fresh:
        start = f"from {case.config.weights}" if case.config.weights is not None else "with further parts of the loss"
        evidence = (
            f"Starts {start} at {logged:.4g}, not judged against ln {CHANNELS}; the loss of a fresh network is "
            f"{loss:.4g}, expected {expected:.3f} within 10%."
        )
    if abs(loss - expected) <= INITIAL_TOLERANCE * expected:
        return Finding("initial_loss", Status.PASS, evidence)
    cause, remedy = _initial_causes(loss, case)
    return Finding("initial_loss", Status.FAIL, evidence, sentence(cause), sentence(remedy))


def _initial_causes(loss: float, case: Case) -> tuple[str, str]:
    cells = -(-case.config.data.height // CELL) * -(-case.config.data.width // CELL)
    batch, expected = case.config.train.batch_size, case.chance
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
            return f"{cause} (that gives {value:.4g})", remedy
    if loss > expected:
        return (
            "The head's logits already differ: last layer not initialised to small weights, or labels that contradict "
            "its bias",
            "Draw the last layer with deviation 0.01 (models.superpoint.initialise) and set its bias by "
            "DetectorObjective.initialise",
        )
    return (
        "The network already knows something (weights of an earlier training, a dustbin bias set without the matching "
        "shift of the loss), or fewer than 65 classes take part",
        "Start from build_model and DetectorObjective.initialise; check loss weights and the number of logits",
    )


def overfitting(case: Case) -> Finding:
    """Does the validation loss rise, or stay far above, while the training loss falls?"""
    if case.config.data.overfit:
        evidence = f"data.overfit={case.config.data.overfit}: this run is to overfit, nothing to judge."
        return Finding("overfitting", Status.PASS, evidence)
    losses = [(int(e["step"]), value) for e in case.events("validate") if (value := number(e, "loss")) is not None]
    if len(losses) < VALIDATIONS:
        text = f"Validations so far: {len(losses)}; a trend needs at least {VALIDATIONS}."
        return Finding("overfitting", Status.PASS, text)
    train = [_train_loss(case, step) for step, _ in losses]
    now = train[-1]
    lowest = min(range(len(losses)), key=lambda i: losses[i][1])
    step, best = losses[lowest]
    last = statistics.fmean(value for _, value in losses[lowest + 1 :][-2:] or losses[-1:])  # one may be off
    rise = last / best - 1 if best > 0 else 0.0
    shown = f"validation loss {best:.3g} at step {step} (lowest), {last:.3g} at the end"
    if now is None or now <= 0:
        return Finding("overfitting", Status.PASS, sentence(f"{shown}; no training loss beside it"))
    shown += f"; training loss {train[lowest]:.3g} then, {now:.3g} at the end"
    ratios = [value / loss if loss else 0.0 for (_, value), loss in zip(losses, train, strict=True)]
    ratio, usual = ratios[-1], 1.0
    if getattr(case.config.data, "kind", "") == "mixed":
        usual = max(ratios[0], 1.0)
        shown += f"; validated on photographs alone, so their ratio is measured by the first one ({ratios[0]:.3g})"
    remedy = "train on more images, with data.photometric.enable=true, data.homography.enable=true, more weight decay"
    if rise > RISE_WARN and now < (1 - TRAIN_FALL) * (train[lowest] or 0.0):
        shown += f": the gap opens from step {step} on"
        return _by_heart(rise > RISE_FAIL, shown, remedy, step)
    if ratio > GAP_WARN * usual:
        narrow = [i for i, each in enumerate(ratios) if each <= GAP_WARN * usual]
        opened = losses[narrow[-1] + 1 if narrow else 0][0]
        shown += f", {ratio:.3g} times less: the gap opens from step {opened} on"
        return _by_heart(ratio > GAP_FAIL * usual, shown, remedy, step if lowest < len(losses) - 1 else None)
    if rise > RISE_WARN:
        shown += ": both got worse, so this is not overfitting (see `gradient_jump`, `learning_rate`)"
    return Finding("overfitting", Status.PASS, sentence(shown))


def _by_heart(grave: bool, evidence: str, remedy: str, step: int | None) -> Finding:
    """Return the finding; `step`: the step with the best weights, None if it was the last."""
    cause = "the network learns its training images by heart: too few of them, or too little augmentation"
    if step is not None:
        remedy = f"take the weights of about step {step} (checkpoints/best.ckpt), train less long; {remedy}"
    status = Status.FAIL if grave else Status.WARN
    return Finding("overfitting", status, sentence(evidence), sentence(cause), sentence(remedy))


def _train_loss(case: Case, step: int) -> float | None:
    found = windows(case)
    before = [window.loss for window in found if window.last <= step][-5:] or [w.loss for w in found[:1]]
    return statistics.fmean(before) if before else None


def nonfinite(case: Case) -> Finding:
    """Is there NaN or infinity in the weights or in the history?"""
    broken, last = _nonfinite_names(case.model.state_dict()), case.ended_by
    files = crash_files(case.folder) if case.folder is not None else []
    empty = [e["step"] for e in case.events("train") if "loss" in e and None in (e["loss"], e.get("grad_norm", 0.0))]
    steps = {int(e["step"]) for e in case.events("nonfinite")} | {int(p.stem.rsplit("_", 1)[1]) for p in files}
    steps |= set(empty)
    remedy = f"divide optimizer.lr by 10 (now {case.config.optimizer.lr:g}), set train.clip_norm=1"
    if case.config.train.precision != "fp32":
        remedy += "; train.precision=fp32 shows whether half precision is to blame"
    status = Status.FAIL
    if last is not None:
        loss, norm = (
            "not finite" if number(last, key) is None else f"{last[key]:.4g}" for key in ("loss", "grad_norm")
        )
        evidence = f"the run ended at step {last['step']}: loss {loss}, gradient norm {norm}"
        cause = "an update that was too large, or input that is not finite"
        if crash := case.last_crash():
            remedy += f"; batch and weights are in {crash.path.name}"
            place, cause = _place(case, crash)
            evidence += f"; {place}"
    elif broken:
        evidence = f"{len(broken)} tensors of the network hold NaN or infinity, the first is {broken[0]}"
        cause = "an update that was too large, or a gradient that was not finite"
        remedy = f"go back to an earlier checkpoint; {remedy}"
    elif steps:
        status, shown = Status.WARN, ", ".join(map(str, sorted(steps)[:5]))
        evidence = f"loss or gradient was not finite at step {shown}, but the run has gone on"
        cause = "an earlier session ended there, or a single batch overflowed"
    else:
        return Finding("nonfinite", Status.PASS, "History and weights are finite.")
    return Finding("nonfinite", status, sentence(evidence), sentence(cause), sentence(remedy))


def _nonfinite_names(state: Mapping[str, Tensor]) -> list[str]:
    return [name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]


def _place(case: Case, crash: Crash) -> tuple[str, str]:
    """Return where numbers stopped being finite, and the likely cause.

    Parameters are as before the step; batch-norm statistics show how far its numbers were good.
    """
    broken = _nonfinite_names(crash.weights)
    collected = [name for name in broken if "running_" in name]
    if len(broken) > len(collected):
        first = next(name for name in broken if name not in collected)
        return f"{first} was not finite before the step", "the update before was too large: it overflowed"
    growth = kernel_growth(case, crash.weights)
    grown = f"; the kernels are {growth:.3g} times their initial norm" if growth > GROWN else ""
    cause = "exploding steps: the rate, or rate and momentum together, are too large" if grown else ""
    if collected:
        place = f"weights finite, the forward pass overflowed at {collected[0].rsplit('.', 1)[0]}"
        cause = cause or "activations that overflow, or input that is not finite"
    elif math.isfinite(crash.loss):
        place, cause = "the backward pass overflowed", cause or "a slope that is infinite: log or sqrt at 0"
    else:
        place = "weights finite, the output or the loss overflowed"
        cause = cause or "exp() or log in the loss"
    return place + grown, cause
