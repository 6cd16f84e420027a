"""Stage predict-classes: the classes of the images in a folder."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from torch import nn

from superpoint.classification.config import ClassifierModelConfig
from superpoint.classification.data.dataset import ClassifierInput
from superpoint.classification.data.images import ClassImages, images_below
from superpoint.classification.metrics import predict
from superpoint.classification.training import INPUT, build
from superpoint.config.training import TrainConfig
from superpoint.data.images import read_rgb
from superpoint.engine import make_fabric
from superpoint.engine.run import WEIGHTS
from superpoint.errors import UserError, check_one_of
from superpoint.files import make_folder, read_text, write_csv
from superpoint.models.weights import load_model_state, load_weights

LABELS = ("name", "number", "probability")


def predict_classes(
    run: str | Path, folder: str | Path, out: str | Path, *, label: str = "name", of_class: str | None = None
) -> list[str]:
    """Write a CSV `id,label`, one line per image in natural order; return the names of unreadable files.

    Args:
        run: run folder of train-classifier, or its weights.safetensors.
        folder: with images at any depth. The id is the path below it without its ending, unless two then are the same.
        label: name of the class | number of the class | probability of the class `of_class` (default: the last).

    Raises: UserError, no such run or folder, no image that can be read, an unknown class.
    """
    check_one_of("--label", label, LABELS)
    model, spec = load_classifier(run)
    chosen = spec.classes[-1] if of_class is None else of_class
    check_one_of("--class", chosen, spec.classes)
    root, target = Path(folder), Path(out)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder, expected one with images")
    names = images_below(root)
    if not names:
        raise UserError(f"{root}: found no image to classify")
    unknown = np.zeros(len(names), np.int64)
    images = ClassImages(names, unknown, spec.classes, lambda number: read_rgb(root / names[number]))
    fabric = make_fabric(TrainConfig())
    model.to(fabric.device)
    with fabric.autocast():
        numbers, probability = predict(model, images, spec, shown=True)
    if not len(numbers):
        raise UserError(f"{root}: none of its {len(names)} images can be read")
    kept = [names[number] for number in numbers.tolist()]
    best = probability.argmax(1).tolist()
    answers = {
        "name": [spec.classes[number] for number in best],
        "number": best,
        "probability": [f"{share:.6f}" for share in probability[:, spec.classes.index(chosen)]],
    }
    make_folder(target.parent)
    write_csv(target, [("id", "label"), *zip(identifiers(kept), answers[label], strict=True)])
    done = set(kept)
    skipped = [name for name in names if name not in done]
    more = f"; {len(skipped)} skipped, such as {skipped[0]}" if skipped else ""
    Console().print(f"{target}: {len(kept)} images{more}", soft_wrap=True, highlight=False)
    return skipped


def load_classifier(run: str | Path) -> tuple[nn.Module, ClassifierInput]:
    """Load the network in evaluation mode, and its input.

    Raises: UserError, no such run, no weights in it, or weights of another stage.
    """
    path = Path(run)
    if path.is_dir() and (path / WEIGHTS).is_file():
        path = path / WEIGHTS
    state, model_config, metadata = load_weights(path)
    content = metadata.get("input")
    if content is None:  # a checkpoint: a run that has not ended
        folder = path if path.is_dir() else path.parent.parent
        if not (folder / INPUT).is_file():
            raise UserError(f"{run}: not weights of a classifier, expected those of train-classifier ({INPUT})")
        content = json.loads(read_text(folder / INPUT))
    spec = ClassifierInput.from_json(content, run)
    try:
        config = ClassifierModelConfig(**model_config)
    except TypeError as error:
        raise UserError(f"{run}: not weights of a classifier ({error})") from error
    model = build(config, spec)
    load_model_state(model, state, run)
    return model.eval(), spec


def identifiers(names: list[str]) -> list[str]:
    """Return names without their endings, or with them where two would become the same."""
    stems = [name.rsplit(".", 1)[0] for name in names]
    count = Counter(stems)
    return [stem if count[stem] == 1 else name for stem, name in zip(stems, names, strict=True)]
