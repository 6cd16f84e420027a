"""The report of a classifier's run."""

import json
from typing import Any

import numpy as np

from superpoint.classification.config import ClassifierConfig
from superpoint.classification.metrics import class_table, fit
from superpoint.classification.training import RESULTS, read_data
from superpoint.config import load_config
from superpoint.diagnostics.report.curves import Panel
from superpoint.diagnostics.report.facts import figure, rich_table
from superpoint.diagnostics.report.page import Content, Section
from superpoint.diagnostics.report.panels import POSITIVE, SHARE, curves, learning, optimisation_panels
from superpoint.diagnostics.report.pictures import Picture, read_picture
from superpoint.diagnostics.report.record import RunRecord, number
from superpoint.diagnostics.report.sections import (
    configuration,
    curves_section,
    environment,
    inside,
    samples_section,
)
from superpoint.errors import UserError
from superpoint.files import read_text

SAMPLES = 24


def classifier_sections(record: RunRecord) -> list[Section]:
    """Return the parts of the page of a run."""
    text = "The first samples of the run, augmented as the network sees them."
    return [
        curves_section(panels(record), record),
        Section("evaluation", "Evaluation on the test images", evaluation_content(record)),
        samples_section(training_samples(record), text),
        inside(record),
        configuration(record, ClassifierConfig),
        environment(record),
    ]


OTHER_REPORTS = {ClassifierConfig.stage: classifier_sections}  # for `diagnostics.report.write.write_report`


def training_samples(record: RunRecord) -> list[Picture]:
    """Return some with their classes; none without a configuration or images."""
    try:
        config = load_config(ClassifierConfig, record.path / "config.yaml")
        data = read_data(config)
    except UserError:
        return []
    samples = map(data.dataset(config).__getitem__, range(SAMPLES))
    return [
        Picture(data.spec.classes[int(one["label"])], fit(np.moveaxis(one["image"].numpy(), 0, -1))) for one in samples
    ]


def panels(record: RunRecord) -> list[Panel]:
    expected = number(record.last("initial_loss").get("expected"))
    best = [record.best[2]] if record.best else []
    names = ("training, as augmented", "test")
    return [
        Panel(
            "Loss", "cross-entropy, nats", learning(record, "loss", *names), log=True, level=expected,
            note="Dotted: ln(classes), expected of an untrained network." if expected > 0 else "",
        ),
        Panel(
            "Accuracy", "share of right answers", learning(record, "accuracy", *names), limits=SHARE, marks=best,
            note="Dashed line: best checkpoint." if best else "",
        ),
        *optimisation_panels(record),
        Panel("Time of an epoch", "seconds", curves(record, "validate", {"epoch_seconds": ""}), limits=POSITIVE),
    ]  # fmt: skip


def read_results(record: RunRecord) -> dict[str, Any]:
    """Return the content of evaluation/classes.json; empty if it cannot be read."""
    try:
        found = json.loads(read_text(record.path / RESULTS))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and {"accuracy", "confusion", "classes", "images"} <= set(found) else {}


def evaluation_content(record: RunRecord) -> Content:
    found = read_results(record)
    if not found:
        return Content(notes=[f"{RESULTS} is missing or cannot be read; it is written at the end of the training."])
    text = (
        f"Weights of step {found.get('step', '?')}, the best on these very images (so a little too good); "
        f"{found.get('crops', 1)} crop(s) of each. Accuracy {found['accuracy']:.4f} of {found['images']} images, mean "
        f"over the classes {figure(found.get('balanced_accuracy'), 4)}; at the end of the training "
        f"{figure(found.get('last_accuracy'), 4)}."
    )
    folder = record.path / "evaluation"
    matrix, damage = read_picture(folder / "confusion.png", "Confusion matrix")
    # Photographs: as PNG they would make most of the page.
    mistakes, more = read_picture(folder / "mistakes.png", "Worst mistakes: true class, answer (its probability)", 90)
    table = rich_table(class_table(found, found["classes"], ""))
    return Content(text, figures=[*matrix, *mistakes], tables=[table], notes=[*damage, *more])
