"""Stage train-classifier: images with one class each in, a classifier out.

Leaves weights.safetensors and, in evaluation/, the confusion matrix and the worst mistakes on the test images.
"""

import hashlib
import math
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from rich.console import Console
from torch import nn

from superpoint.backbones.classifiers import build_classifier
from superpoint.backbones.network import ClassificationNetwork
from superpoint.backbones.pretrained import load_classifier
from superpoint.budget import Budget
from superpoint.classification.config import ClassifierConfig, ClassifierModelConfig
from superpoint.classification.data.dataset import (
    ClassifierInput,
    TrainingImages,
    load_images,
    measure_input,
    open_images,
)
from superpoint.classification.data.images import ClassImages
from superpoint.classification.metrics import class_table, confusion_figure, measure, mistakes_picture, predict
from superpoint.classification.objective import ClassifierObjective
from superpoint.engine import RunFolder, TrainResult, make_fabric
from superpoint.errors import UserError
from superpoint.files import make_folder, write_json
from superpoint.models.weights import load_model_state, load_weights, save_weights
from superpoint.training.fit import finish, fit
from superpoint.visualize import save_figure, save_image

INPUT = "classes.json"  # in the run folder: `ClassifierInput`, and what was skipped
RESULTS = "evaluation/classes.json"


@dataclass(frozen=True)
class ClassifierData:
    """Images and network input of a run."""

    train: ClassImages
    test: ClassImages
    spec: ClassifierInput

    def dataset(self, config: ClassifierConfig) -> TrainingImages:
        return TrainingImages(self.train, self.spec, config.augment, config.seed)


def read_data(config: ClassifierConfig) -> ClassifierData:
    """Open and read what `config.data` names. Raises: UserError, see `open_images`."""
    parts = open_images(config.data, config.seed)
    training, test = (load_images(config.data, images) for images in parts)
    return ClassifierData(training, test, measure_input(training, config.data, config.augment))


def train_classifier(
    config: ClassifierConfig,
    *,
    resume: bool = False,
    data: ClassifierData | None = None,
    quiet: bool = False,
    budget: Budget | None = None,
) -> TrainResult:
    """Train in the run folder `config.run`, and evaluate the weights that were best in validation.

    data: what `read_data(config)` returns, if already read.
    """
    console = Console(stderr=True, quiet=quiet, soft_wrap=True, highlight=False)
    data = data or read_data(config)
    config = in_steps(config, len(data.train))
    fabric = make_fabric(config.train)
    if fabric.is_global_zero:
        describe(config, data, console)
    objective = ClassifierObjective(data.spec, config.label_smoothing, config.seed)
    model = initial_model(config, data.spec, console)
    shown = console if fabric.is_global_zero else Console(quiet=True)
    validate = ClassValidation(data.test, objective, len(data.train), config.epochs, shown)
    result = fit(
        config, fabric, model, objective, data.dataset(config), validate, resume=resume,
        expected_initial_loss=objective.initial_loss if config.weights is None else None,
        prepare=lambda: write_input(Path(config.run), data), budget=budget,
    )  # fmt: skip
    finish(config, fabric, result, lambda *_: evaluate_classifier(config, data, fabric, console))
    return result


def in_steps(config: ClassifierConfig, images: int) -> ClassifierConfig:
    """Return `config` with its epochs as steps and a validation after each."""
    each = max(1, round(images / config.train.batch_size))
    steps = max(1, round(config.epochs * each))
    return replace(config, train=replace(config.train, steps=steps, validate_every=min(each, steps)))


def initial_model(config: ClassifierConfig, spec: ClassifierInput, console: Console) -> nn.Module:
    """Return the network before its first step: drawn from the seed, or with the weights of `config.weights`."""
    model = build(config.model, spec, config.seed)
    if config.weights is not None:
        drawn = load_classifier(model, config.weights)
        console.print(f"starting from {config.weights}{'; drawn anew: ' if drawn else ''}{', '.join(drawn)}")
    return model


def build(model: ClassifierModelConfig, spec: ClassifierInput, seed: int = 0) -> ClassificationNetwork:
    size = spec.height, spec.width
    return build_classifier(
        model.name, len(spec.classes), spec.channels, size=size, init=model.init, seed=seed, **model.options
    )


@dataclass
class ClassValidation:
    """Measure test loss and accuracy after an epoch, and print them."""

    images: ClassImages
    objective: ClassifierObjective
    training_images: int
    epochs: float
    console: Console
    began: float = field(default_factory=time.monotonic)

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        spec = replace(self.objective.spec, test_crops=1)  # all crops are for the end
        numbers, probability = predict(model, self.images, spec)
        if not len(numbers):
            raise UserError("data.test: none of the test images can be read")
        found = measure(self.images.labels[numbers], probability)
        seen = self.objective.tally.take()
        now = time.monotonic()
        epoch, seconds, self.began = (self.objective.tally.last + 1) / self.training_images, now - self.began, now
        before = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in seen.items())
        after = f"test loss {found['loss']:.4f}  test accuracy {found['accuracy']:.4f}"
        self.console.print(f"epoch {math.ceil(epoch)}/{self.epochs:g}  {before}  {after}  {seconds:.1f} s")
        kept = {key: value for key, value in found.items() if key not in ("confusion", "images")}
        return {**kept, **seen, "epoch_seconds": seconds, "selected_by": "accuracy"}


def describe(config: ClassifierConfig, data: ClassifierData, console: Console) -> None:
    """Print the numbers of images, and warnings about them."""
    counts = data.train.counts()
    names = ", ".join(f"{name} {count}" for name, count in zip(data.train.classes[:10], counts, strict=False))
    more = f", ... ({len(counts)} classes)" if len(counts) > 10 else ""
    console.print(f"{len(data.train)} training images ({names}{more}), {len(data.test)} test images")
    skipped = [*data.train.skipped, *data.test.skipped]
    if skipped:
        name, reason = skipped[0]
        console.print(f"warning: {len(skipped)} images skipped (see {INPUT}); the first: {name}: {reason}")
    if max(len(data.train), len(data.test)) <= config.data.in_memory:
        for warning in doubled(data.train, data.test):
            console.print(f"warning: {warning}")


def doubled(train: ClassImages, test: ClassImages) -> list[str]:
    """Return what is wrong with images of the same pixels: two labels, or in both training and test."""
    places: dict[bytes, dict[str, list[int]]] = {}
    for part, images in (("train", train), ("test", test)):
        for number in range(len(images)):
            pixels = images.read(number)
            key = str(pixels.shape).encode() + hashlib.sha256(pixels.tobytes()).digest()
            places.setdefault(key, {}).setdefault(part, []).append(number)
    two = [found for each in places.values() if len(set(train.labels[found := each.get("train", [])])) > 1]
    shared = [(each["train"][0], each["test"][0]) for each in places.values() if len(each) == 2]
    warnings = []
    if two:
        names = train.names[two[0][0]], train.names[two[0][-1]]
        warnings.append(f"{len(two)} images have two labels, such as {names[0]} and {names[1]}; keep the right ones")
    if shared:
        first = f"{test.names[shared[0][1]]} is {train.names[shared[0][0]]}"
        warnings.append(f"{len(shared)} test images are training images, so the accuracy is too good: {first}")
    return warnings


def write_input(run: Path, data: ClassifierData) -> None:
    skipped = [[name, reason] for name, reason in (*data.train.skipped, *data.test.skipped)]
    write_json(run / INPUT, asdict(data.spec) | {"skipped": skipped})


def evaluate_classifier(
    config: ClassifierConfig, data: ClassifierData, fabric: Fabric, console: Console
) -> dict[str, Any]:
    """Evaluate best.ckpt on the test images; write evaluation/{classes.json, *.png} and weights.safetensors."""
    folder = make_folder(Path(config.run) / "evaluation")
    run = RunFolder(config.run)
    state, _, found = load_weights(run.best)
    model = build(config.model, data.spec)
    load_model_state(model, state, config.run)
    metadata = {"stage": "classifier", "run": Path(config.run).name, "input": asdict(data.spec), "step": found["step"]}
    model.eval().to(fabric.device)
    with fabric.autocast():
        numbers, probability = predict(model, data.test, data.spec, shown=True)
    results = measure(data.test.labels[numbers], probability)
    last = run.history().events("validate")[-1:]
    extra = {"step": found["step"], "crops": data.spec.test_crops, "parameters": parameters(model)}
    extra |= {"classes": data.spec.classes, "last_accuracy": last[0]["accuracy"] if last else None}
    title = f"{results['accuracy']:.1%} of {len(numbers)} test images right"
    save_figure(folder / "confusion.png", confusion_figure(results["confusion"], data.spec.classes, title))
    picture = mistakes_picture(data.test, numbers, probability)
    if picture is not None:
        save_image(folder / "mistakes.png", picture)
    write_json(Path(config.run) / RESULTS, results | extra)
    save_weights(run.weights, model, asdict(config.model), metadata)  # last: they say that the rest is there
    if len(data.spec.classes) <= 20:
        console.print(class_table(results, data.spec.classes, title))
    console.print(f"best weights, step {found['step']}: {title}; {folder}/confusion.png, mistakes.png")
    return results | extra


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())
