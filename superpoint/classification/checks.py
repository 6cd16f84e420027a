"""The checks of a classifier, in the order in which doctor runs them: its own, and those of detectors that fit it."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from superpoint.diagnostics.checks.history import by_heart, initial_loss, nonfinite, too_few_validations
from superpoint.diagnostics.checks.jumps import Jump, gradient_peak, judge_jump, jump_up
from superpoint.diagnostics.checks.network import dead_channels
from superpoint.diagnostics.checks.observation import watch_activations
from superpoint.diagnostics.checks.rate import HIGH, LOW, rate_evidence
from superpoint.diagnostics.checks.trend import number, sentence, windows
from superpoint.diagnostics.finding import Check, Finding, Status
from superpoint.errors import UserError

if TYPE_CHECKING:
    from superpoint.classification.case import ClassifierCase
    from superpoint.classification.data.images import ClassImages

OBSERVED = 64  # images
OFFSET, SPREADS = 1.0, (0.2, 5.0)  # of the normalised input. Healthy, data.normalise=standard: 0 +- 0.3, 0.8 to 1.2
CONSTANT = 2.0  # grey levels: standard deviation below which an image shows nothing
UNEVEN_WARN, UNEVEN_FAIL = 5.0, 50.0  # images of the largest class over those of the smallest
DUPLICATES = 0.01  # share of the test images that are also training images
LOOKED_AT = 5000  # images compared with each other
WORSE_THAN_CHANCE = 1.5  # loss of a window over ln(classes). Healthy: up to 1.2, in the first steps
FROZEN = 0.97  # loss at the end over ln(classes). Healthy: cats and dogs .9 after 100 steps, digits .3
FROZEN_STEPS = 200  # at half the full rate or more, before a loss that has not fallen is more than a warning
# Test loss over its minimum, and difference of the accuracies. Healthy: 1.0 to 1.1, up to .1.
RISE, GAP = 1.25, 0.15
LEARNT = 0.02  # accuracy lost since the best epoch


def input_(case: ClassifierCase) -> Finding:
    """Do the images reach the network, normalised, and does any show nothing?"""
    batch = case.batch(OBSERVED)
    image = case.spec.normalise(batch["image"])
    mean, spread = float(image.mean()), float(image.std())
    constant = int((batch["image"].float().flatten(1).std(dim=1) < CONSTANT).sum())
    evidence = (
        f"{len(image)} augmented training images of {case.spec.height} x {case.spec.width}: input of mean {mean:.2f} "
        f"and standard deviation {spread:.2f}; {constant} of them constant."
    )
    if not math.isfinite(spread) or constant > len(image) / 2:
        cause = "most images are of one colour: wrong files, or a crop that hits the background"
        remedy = "look at the training samples in the report; a larger smallest augment.scale, augment.crop=centre"
        return _finding("input", Status.FAIL, evidence, cause, remedy)
    shifted = abs(mean) > OFFSET or not SPREADS[0] < spread < SPREADS[1]
    if shifted and case.config.data.normalise != "none":
        cause = "mean and deviation in classes.json are not those of these images"
        remedy = "were other images put in the place of those the run began with? Start a new run"
        return _finding("input", Status.FAIL, evidence, cause, remedy)
    if constant > 0.05 * len(image):
        cause = "some crops or files show a single colour"
        return _finding("input", Status.WARN, evidence, cause, "a larger smallest augment.scale")
    return Finding("input", Status.PASS, evidence)


def labels(case: ClassifierCase) -> Finding:
    """Are the classes in balance, and is no image in two classes or in both training and test?"""
    counts = case.training.counts()
    low, high = int(counts.argmin()), int(counts.argmax())
    uneven = counts[high] / max(int(counts[low]), 1)
    train, test = _contents(case.training), _contents(case.test)
    two = [names for names in train.values() if len({label for _, label in names}) > 1]
    shared = [(train[key][0][0], test[key][0][0]) for key in train.keys() & test.keys()]
    looked = sum(map(len, test.values()))
    evidence = (
        f"{len(case.training)} training images of {len(counts)} classes, {counts[low]} ('{case.spec.classes[low]}') to "
        f"{counts[high]} ('{case.spec.classes[high]}') each; {len(two)} in two classes, {len(shared)} of {looked} test "
        "images also among the training images."
    )
    if two:
        grave = len(two) > DUPLICATES * len(case.training)
        cause = f"the same image has two labels, such as {two[0][0][0]} and {two[0][-1][0]}"
        remedy = "keep the right one of each"
    elif shared:
        grave = len(shared) > DUPLICATES * looked
        cause = f"the test images are not unseen: {shared[0][1]} is {shared[0][0]}; the accuracy is too good"
        remedy = "remove duplicates before splitting"
    elif uneven > UNEVEN_WARN:
        grave = uneven > UNEVEN_FAIL
        cause = "a class with few images is hardly learnt, and the accuracy hides it (see balanced_accuracy)"
        remedy = "collect more of it, or repeat its lines in a CSV"
    else:
        return Finding("labels", Status.PASS, evidence)
    return _finding("labels", Status.FAIL if grave else Status.WARN, evidence, cause, remedy)


def _contents(images: ClassImages) -> dict[bytes, list[tuple[str, int]]]:
    """Return (name, label) of up to LOOKED_AT images by their pixels."""
    found: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
    for number_ in range(min(len(images), LOOKED_AT)):
        try:
            pixels = images.read(number_)
        except UserError:
            continue
        key = bytes(str(pixels.shape), "ascii") + np.ascontiguousarray(pixels).tobytes()
        found[key].append((images.names[number_], int(images.labels[number_])))
    return found


def _initial_causes(loss: float, case: ClassifierCase) -> tuple[str, str]:
    if loss > case.chance:
        return (
            "the last layer is not drawn small, or layers without norm amplify: the logits already differ",
            "classification.model.build_classifier draws it with deviation 0.01; try model.init=kaiming, a norm",
        )
    return (
        "the network already knows something, or fewer classes take part than there are",
        "compare the classes in classes.json with the data",
    )


def dead_relu(case: ClassifierCase) -> Finding:
    """Are channels dead in evaluation mode?"""
    image = case.spec.normalise(case.batch(OBSERVED)["image"])
    with torch.no_grad(), watch_activations(case.model) as dead:
        case.model(image)
    return dead_channels(dead, OBSERVED)


def gradient_jump(case: ClassifierCase) -> Finding:
    """Steps that were too large: a loss worse than chance, or a sudden jump of the loss or the gradient."""
    found, chance = windows(case), case.chance
    bad = next((window for window in found if window.loss > WORSE_THAN_CHANCE * chance), None)
    if bad is not None:
        text = f"loss {bad.loss:.3g} in {bad.span}, worse than chance ({chance:.2f})"
        jump = Jump(text, bad.last, recovered=found[-1].loss < 0.8 * chance)
    elif jump := jump_up(found) or gradient_peak(found):
        jump = replace(jump, recovered=jump.recovered and found[-1].loss < FROZEN * chance)
    return judge_jump(case, found, jump)


def learning_rate(case: ClassifierCase) -> Finding:
    """Too high or too low, from the history and a range test."""
    seen = rate_evidence(case)
    if seen.loss is None or seen.loss <= FROZEN * case.chance:
        return seen.finding(Status.PASS)
    cause = HIGH if seen.too_high else LOW
    remedy = seen.start
    if not (seen.too_high or seen.too_low):
        cause = "nothing is learnt: a wrong rate, a deep network without norm or shortcuts, or labels without sense"
        remedy += "; overfit 50 images first (data.limit=50); look at the training samples in the report"
    return seen.finding(Status.FAIL if seen.steps >= FROZEN_STEPS else Status.WARN, "", cause, remedy)


def overfitting(case: ClassifierCase) -> Finding:
    """Does the test loss rise, or the test accuracy stay behind, while the training goes on?"""
    lines = [entry for entry in case.events("validate") if number(entry, "loss") is not None]
    if len(lines) < 3:
        return too_few_validations(len(lines))
    best = min(lines, key=lambda entry: entry["loss"])
    top = max(lines, key=lambda entry: entry["accuracy"])
    last = lines[-1]
    rise = last["loss"] / max(best["loss"], 1e-9)
    train = number(last, "train_accuracy")
    gap = None if train is None else train - last["accuracy"]
    shown = f"test loss {best['loss']:.3g} at step {best['step']} (lowest), {last['loss']:.3g} at the end; accuracy "
    shown += f"{last['accuracy']:.3f} on test images"
    shown += "" if train is None else f", {train:.3f} on training images as augmented"
    if rise <= RISE and (gap is None or gap <= GAP):
        return Finding("overfitting", Status.PASS, sentence(shown))
    remedy = "augment.crop=resized with a smaller smallest augment.scale, colour jitter, more weight decay, dropout "
    remedy += "(model.options), a smaller network, or weights=PATH of a network trained on more images"
    lost = top["accuracy"] - last["accuracy"] > LEARNT
    return by_heart(lost and rise > RISE, shown, remedy, int(top["step"]) if lost else None)


def _finding(check: str, status: Status, evidence: str, cause: str, remedy: str) -> Finding:
    return Finding(check, status, evidence, sentence(cause), sentence(remedy))


# The key is Finding.check of what the function returns.
CLASSIFIER_CHECKS: dict[str, Check] = {
    "input": input_,
    "labels": labels,
    "initial_loss": functools.partial(initial_loss, causes=_initial_causes),
    "dead_relu": dead_relu,
    "gradient_jump": gradient_jump,
    "learning_rate": learning_rate,
    "overfitting": overfitting,
    "nonfinite": nonfinite,
}
