"""The checks of a classifier, in the order in which doctor runs them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from superpoint.classification.case import ClassifierCase, observe
from superpoint.classification.history_checks import gradient_jump, learning_rate, nonfinite, overfitting
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.trend import number
from superpoint.diagnostics.finding import Check, Finding, Status
from superpoint.errors import UserError

INITIAL_TOLERANCE = 0.1  # of ln(classes). Healthy: within 0.02
OFFSET, SPREADS = 1.0, (0.2, 5.0)  # of the normalised input. Healthy, data.normalise=standard: 0 +- 0.3, 0.8 to 1.2
CONSTANT = 2.0  # grey levels: standard deviation below which an image shows nothing
UNEVEN_WARN, UNEVEN_FAIL = 5.0, 50.0  # images of the largest class over those of the smallest
DUPLICATES = 0.01  # share of the test images that are also training images
LOOKED_AT = 5000  # images compared with each other
DEAD, DYING = 0.5, 0.2  # share of a layer's channels; trained networks up to .1
ONE_CLASS = 0.95  # share of the answers that are the same class
YOUNG = 100  # steps before which a network may say anything


def input_(case: ClassifierCase) -> Finding:
    """Do the images reach the network, normalised, and does any show nothing?"""
    batch = case.batch(64)
    image = case.spec.normalise(batch["image"])
    mean, spread = float(image.mean()), float(image.std())
    levels = batch["image"].float().flatten(1).std(dim=1)
    constant = int((levels < CONSTANT).sum())
    details = {"mean": mean, "deviation": spread, "constant": constant, "images": len(image)}
    evidence = (
        f"{len(image)} augmented training images of {case.spec.height} x {case.spec.width}: input of mean {mean:.2f} "
        f"and standard deviation {spread:.2f}; {constant} of them constant."
    )
    if not math.isfinite(spread) or constant > len(image) / 2:
        cause = "most images are of one colour: wrong files, or a crop that hits the background"
        remedy = "look at them: the report shows training samples; a larger least augment.scale, augment.crop=centre"
        return _finding("input", Status.FAIL, evidence, cause, remedy, details)
    if case.config.data.normalise == "none":
        details["note"] = "data.normalise=none"
    elif abs(mean) > OFFSET or not SPREADS[0] < spread < SPREADS[1]:
        cause = "mean and deviation in classes.json are not those of these images"
        remedy = "were other images put in the place of those the run began with? Start a new run"
        return _finding("input", Status.FAIL, evidence, cause, remedy, details)
    if constant > 0.05 * len(image):
        cause = "some crops or files show a single colour"
        return _finding("input", Status.WARN, evidence, cause, "a larger least augment.scale", details)
    return Finding("input", Status.PASS, evidence, details=details)


def labels(case: ClassifierCase) -> Finding:
    """Are the classes in balance, and is no image in two classes or in both training and test?"""
    counts = case.training.counts()
    low, high = int(counts.argmin()), int(counts.argmax())
    uneven = counts[high] / max(int(counts[low]), 1)
    train, test = _contents(case.training), _contents(case.test)
    two = [names for names in train.values() if len({label for _, label in names}) > 1]
    shared = [(train[key][0][0], test[key][0][0]) for key in train.keys() & test.keys()]
    looked = sum(map(len, test.values()))
    leak = len(shared) / max(looked, 1)
    details: dict[str, Any] = {
        "counts": counts.tolist(),
        "two_classes": [[name for name, _ in names] for names in two[:10]],
        "in_both": [list(pair) for pair in sorted(shared)[:10]],
    }
    evidence = (
        f"{len(case.training)} training images of {len(counts)} classes, {counts[low]} ('{case.spec.classes[low]}') to "
        f"{counts[high]} ('{case.spec.classes[high]}') each; {len(two)} in two classes, {len(shared)} of {looked} test "
        "images also among the training images."
    )
    if two:
        cause = f"the same image has two labels, such as {two[0][0][0]} and {two[0][-1][0]}"
        status = Status.FAIL if len(two) > DUPLICATES * len(case.training) else Status.WARN
        return _finding("labels", status, evidence, cause, "keep the right one of each", details)
    if leak > 0:
        cause = f"the test images are not unseen: {shared[0][1]} is {shared[0][0]}; the accuracy is too good"
        status = Status.FAIL if leak > DUPLICATES else Status.WARN
        return _finding("labels", status, evidence, cause, "remove duplicates before splitting", details)
    if uneven > UNEVEN_WARN:
        cause = "a class with few images is hardly learnt, and the accuracy hides it (see balanced_accuracy)"
        status = Status.FAIL if uneven > UNEVEN_FAIL else Status.WARN
        return _finding("labels", status, evidence, cause, "collect more of it, or repeat its lines in a CSV", details)
    return Finding("labels", Status.PASS, evidence, details=details)


def _contents(images: Any) -> dict[bytes, list[tuple[str, int]]]:
    """(name, label) of the images by their pixels, of up to LOOKED_AT of them."""
    found: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
    for place in range(min(len(images), LOOKED_AT)):
        try:
            pixels = images.read(place)
        except UserError:
            continue
        key = bytes(str(pixels.shape), "ascii") + np.ascontiguousarray(pixels).tobytes()
        found[key].append((images.names[place], int(images.labels[place])))
    return found


def initial_loss(case: ClassifierCase) -> Finding:
    """The loss of the untrained network is ln(classes): every class equally likely."""
    expected = case.objective.initial_loss
    logged = next((number(entry, "loss") for entry in case.events("initial_loss")), None)
    count = len(case.spec.classes)
    started = case.config.weights is not None
    loss = None if started else logged
    source = "logged before the first update"
    if loss is None:
        source, fresh = "of a fresh network", case.fresh().train()
        batch = case.batch(min(64, case.config.train.batch_size))
        with torch.no_grad():
            loss = float(
                case.objective.cross_entropy(_logits(fresh(case.spec.normalise(batch["image"]))), batch["label"])
            )
    details = {"loss": loss if math.isfinite(loss) else None, "expected": expected, "logged": logged}
    evidence = f"Initial loss {loss:.4g} ({source}), expected ln {count} = {expected:.3f} within 10%."
    if math.isfinite(loss) and abs(loss - expected) <= INITIAL_TOLERANCE * expected:
        return Finding("initial_loss", Status.PASS, evidence, details=details)
    if not math.isfinite(loss):
        cause, remedy = "the fresh network puts out NaN or infinity", "train.precision=fp32; look at the input"
    elif loss > expected:
        cause = "the last layer is not drawn small, or layers without norm amplify: the logits already differ"
        remedy = "models.classifier.build_classifier draws it with deviation 0.01; try model.init=kaiming, a norm"
    else:
        cause = "the network already knows something, or fewer classes take part than there are"
        remedy = "compare the classes in classes.json with the data"
    return _finding("initial_loss", Status.FAIL, evidence, cause, remedy, details)


def one_class(case: ClassifierCase) -> Finding:
    """Does the network answer the same whatever it is shown?"""
    seen = observe(case)
    if not bool(torch.isfinite(seen.logits).all()):
        evidence = "Not judged: the logits are not finite."
        return Finding("one_class", Status.WARN, evidence, remedy="See what `nonfinite` says first.")
    answers = Counter(seen.logits.argmax(1).tolist())
    label, count = answers.most_common(1)[0]
    share, total = count / len(seen.logits), len(seen.logits)
    centred = seen.logits - seen.logits.mean(1, keepdim=True)
    differs = float(centred.std(dim=0).mean())
    likely = float(case.training.counts()[label] / len(case.training))
    details = {"answers": dict(sorted(answers.items())), "share": share, "spread": differs}
    evidence = (
        f"{total} training images get {len(answers)} different answers; the commonest is '{case.spec.classes[label]}', "
        f"{share:.0%} ({likely:.0%} of the images are); logits vary by {differs:.3g} from image to image."
    )
    steps = max((int(entry.get("step", 0)) for entry in case.history), default=0)
    if share < ONE_CLASS or likely > ONE_CLASS or steps < YOUNG:
        return Finding("one_class", Status.PASS, evidence, details=details)
    cause = "the input is ignored: training never began (a deep plain network, too small an initialisation) or was "
    cause += "thrown off by too large a step, which left only the biases"
    remedy = (
        "see `dead_relu` and `learning_rate`; add batch norm or shortcuts, model.init=kaiming, a lower optimizer.lr"
    )
    return _finding("one_class", Status.FAIL, evidence, cause, remedy, details)


def dead_relu(case: ClassifierCase) -> Finding:
    """Are channels zero for every image?"""
    dead = observe(case).dead
    if not dead:
        return Finding("dead_relu", Status.PASS, "The network has no nn.ReLU to look at.")
    name = max(dead, key=lambda key: dead[key])
    worst = dead[name]
    evidence = f"Of {len(dead)} ReLU layers '{name}' has most dead channels, {worst:.0%} (expected below {DYING:.0%})."
    if worst < DYING:
        return Finding("dead_relu", Status.PASS, evidence, details={"dead": dead})
    cause = f"channels of '{name}' are off for every image and get no gradient: a rate once too high, or one too high "
    cause += "for a network without norm"
    remedy = "start again with a lower optimizer.lr or a longer schedule.warmup, train.clip_norm=1"
    status = Status.FAIL if worst >= DEAD else Status.WARN
    return _finding("dead_relu", status, evidence, cause, remedy, {"dead": dead})


def _logits(output: Any) -> torch.Tensor:
    return (output[0] if isinstance(output, (tuple, list)) else output).float()


def _finding(check: str, status: Status, evidence: str, cause: str, remedy: str, details: dict[str, Any]) -> Finding:
    return Finding(
        check, status, evidence, f"{cause[:1].upper()}{cause[1:]}.", f"{remedy[:1].upper()}{remedy[1:]}.", details
    )


def _of_classifier(check: Callable[[ClassifierCase], Finding]) -> Check:
    def checked(case: Case) -> Finding:
        assert isinstance(case, ClassifierCase)
        return check(case)

    return checked


# The key is Finding.check of what the function returns.
CLASSIFIER_CHECKS: dict[str, Check] = {
    name: _of_classifier(check)
    for name, check in {
        "input": input_,
        "labels": labels,
        "initial_loss": initial_loss,
        "one_class": one_class,
        "dead_relu": dead_relu,
        "gradient_jump": gradient_jump,
        "learning_rate": learning_rate,
        "overfitting": overfitting,
        "nonfinite": nonfinite,
    }.items()
}
