"""Checks of what a classifier's run has logged: its steps, its learning rate, its validations, its end."""

from __future__ import annotations

import math
from typing import Any

import torch

from superpoint.classification.case import ClassifierCase
from superpoint.diagnostics.checks.jumps import gradient_peak, jump_up
from superpoint.diagnostics.checks.rate import TOO_HIGH, TOO_LOW, full_rate_steps, read_range
from superpoint.diagnostics.checks.trend import late_mean, number, sentence, windows
from superpoint.diagnostics.crash import crash_files
from superpoint.diagnostics.finding import Finding, Status

WORSE_THAN_CHANCE = 1.5  # loss of a window over ln(classes). Healthy: up to 1.2, in the first steps
FROZEN = 0.97  # loss at the end over ln(classes). Healthy: cats and dogs .9 after 100 steps, digits .3
FROZEN_STEPS = 200  # at half the full rate or more, before a loss that has not fallen is more than a warning
# Test loss over its minimum, and difference of the accuracies. Healthy: 1.0 to 1.1, up to .1.
RISE, GAP = 1.25, 0.15
LEARNT = 0.02  # accuracy lost since the best epoch


def gradient_jump(case: ClassifierCase) -> Finding:
    """Steps that were too large: a loss worse than chance, or a sudden jump of the loss or the gradient."""
    found, limit = windows(case), WORSE_THAN_CHANCE * case.objective.initial_loss
    if not found:
        return Finding("gradient_jump", Status.PASS, "No training steps logged yet: nothing to judge.")
    worst = max(found, key=lambda window: window.loss_max)
    details: dict[str, Any] = {"loss_max": worst.loss_max, "chance": case.objective.initial_loss}
    bad = next((window for window in found if window.loss > limit), None)
    jump = None if bad is not None else jump_up(found) or gradient_peak(found)
    if bad is None and jump is None:
        evidence = f"Highest loss of a step {worst.loss_max:.2f}, chance is {case.objective.initial_loss:.2f}."
        return Finding("gradient_jump", Status.PASS, evidence, details=details)
    optimizer = case.config.optimizer
    if bad is not None:
        text = f"loss {bad.loss:.3g} in {bad.span}, worse than chance ({case.objective.initial_loss:.2f})"
        recovered = found[-1].loss < 0.8 * case.objective.initial_loss
    else:
        assert jump is not None
        text = jump.text.removesuffix(", loss unharmed")
        recovered = jump.recovered and found[-1].loss < FROZEN * case.objective.initial_loss
    remedy = f"divide optimizer.lr by 10 (now {optimizer.lr:g})"
    if optimizer.name == "sgd" and optimizer.momentum > 0:
        total = optimizer.lr / (1 - optimizer.momentum)
        remedy += f" or lower optimizer.momentum ({optimizer.momentum:g}: in all {total:g} times a gradient)"
    if case.config.train.clip_norm == 0:
        remedy += ", set train.clip_norm=1"
    status = Status.WARN if recovered else Status.FAIL
    cause = "steps too large; the run got over it" if recovered else "steps too large"
    return Finding("gradient_jump", status, sentence(text), sentence(cause), sentence(remedy), details)


def learning_rate(case: ClassifierCase) -> Finding:
    """Too high or too low, from the history and a range test."""
    found, tested, rate = windows(case), read_range(case), case.config.optimizer.lr
    chance, loss = case.objective.initial_loss, late_mean(windows(case), "loss")
    steps = full_rate_steps(found, rate)
    details = {
        "rate": rate,
        "best_rate": tested.best if tested else None,
        "unstable_rate": tested.unstable if tested else None,
        "loss": loss,
        "chance": chance,
        "steps_at_full_rate": steps,
    }
    seen = f"rate {rate:g}" + (f"; range test: {tested.text}" if tested else "")
    if loss is None:
        return Finding("learning_rate", Status.PASS, sentence(f"{seen}; no training steps logged yet"), details=details)
    seen += f"; loss {chance:.2f} (chance) -> {loss:.3g} in {found[-1].last} steps"
    if loss <= FROZEN * chance:
        return Finding("learning_rate", Status.PASS, sentence(seen), details=details)
    status = Status.FAIL if steps >= FROZEN_STEPS else Status.WARN
    start = f"start from {tested.best / 10:.1g}" if tested and tested.best else "try a tenth and ten times of it"
    if tested and tested.unstable and rate > TOO_HIGH * tested.unstable:
        cause = "rate too high: beyond the rate at which the loss gets unstable"
    elif tested and tested.best and rate < TOO_LOW * tested.best:
        cause = "rate too low: thousands of steps will hardly move the weights"
    else:
        cause = (
            "nothing is learnt: rate too high or too low, a network too deep to train without norm or shortcuts, or "
        )
        cause += "labels that have nothing to do with the images"
        start = f"{start}; overfit 50 images first (data.limit=50); look at the training samples in the report"
    return Finding("learning_rate", status, sentence(seen), sentence(cause), sentence(start), details)


def overfitting(case: ClassifierCase) -> Finding:
    """Does the test loss rise, or the test accuracy stay behind, while the training goes on?"""
    lines = [entry for entry in case.events("validate") if number(entry, "loss") is not None]
    if len(lines) < 3:
        return Finding("overfitting", Status.PASS, f"Validations so far: {len(lines)}; a trend needs at least 3.")
    best = min(lines, key=lambda entry: entry["loss"])
    top = max(lines, key=lambda entry: entry["accuracy"])
    last = lines[-1]
    rise = last["loss"] / max(best["loss"], 1e-9)
    train = number(last, "train_accuracy")
    gap = None if train is None else train - last["accuracy"]
    details = {"best_step": best["step"], "rise": rise, "gap": gap, "best_accuracy": top["accuracy"]}
    shown = f"test loss {best['loss']:.3g} at step {best['step']} (lowest), {last['loss']:.3g} at the end; accuracy "
    shown += f"{last['accuracy']:.3f} on test images"
    shown += "" if train is None else f", {train:.3f} on training images as augmented"
    if rise <= RISE and (gap is None or gap <= GAP):
        return Finding("overfitting", Status.PASS, sentence(shown), details=details)
    cause = "the network learns its training images by heart: too few of them, or too little augmentation"
    remedy = "augment.crop=resized with a smaller least augment.scale, colour jitter, a larger optimizer.weight_decay, "
    remedy += "dropout (model.options), a smaller network, or weights=PATH of a network trained on more images"
    lost = top["accuracy"] - last["accuracy"] > LEARNT
    if lost:
        remedy = f"take the weights of step {top['step']} (checkpoints/best.ckpt), train less long; {remedy}"
    status = Status.FAIL if lost and rise > RISE else Status.WARN
    return Finding("overfitting", status, sentence(shown), sentence(cause), sentence(remedy), details)


def nonfinite(case: ClassifierCase) -> Finding:
    """NaN or infinity in the weights or at the end of the run."""
    broken = [name for name, value in case.model.state_dict().items() if not bool(torch.isfinite(value).all())]
    events = case.events("nonfinite")
    files = [path.name for path in crash_files(case.folder)] if case.folder is not None else []
    details = {"weights": broken[:10], "files": files, "steps": [entry["step"] for entry in events]}
    ended = bool(events) and case.history[-1] is events[-1]
    if not broken and not ended:
        shown = "all weights are finite" + (
            f"; an earlier session ended at step {events[-1]['step']}" if events else ""
        )
        return Finding("nonfinite", Status.PASS, sentence(shown), details=details)
    shown = f"{len(broken)} tensors of the weights are not finite" if broken else "the weights are finite"
    if ended:
        loss = number(events[-1], "loss")
        value = "not finite" if loss is None or not math.isfinite(loss) else f"{loss:.4g}"
        shown = f"the run ended at step {events[-1]['step']}: loss {value}; {shown}"
    remedy = f"divide optimizer.lr by 10 (now {case.config.optimizer.lr:g}), set train.clip_norm=1"
    if case.config.train.precision != "fp32":
        remedy += "; train.precision=fp32 shows whether half precision is to blame"
    cause = "an update that was too large, or activations that overflow in a network without norm"
    return Finding("nonfinite", Status.FAIL, sentence(shown), sentence(cause), sentence(remedy), details)
