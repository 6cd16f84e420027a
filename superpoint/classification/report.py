"""The report of a classifier's run, or of several beside each other."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superpoint.classification.config import ClassifierConfig
from superpoint.data.images import read_rgb
from superpoint.diagnostics.report.compare import comparison_heading, config_differences
from superpoint.diagnostics.report.curves import Curve, Panel
from superpoint.diagnostics.report.figures import panel_grid, probe_section
from superpoint.diagnostics.report.page import (
    Html,
    figure,
    image_uri,
    join,
    missing,
    page,
    paragraph,
    picture,
    png_figure,
    section,
    table,
    tag,
)
from superpoint.diagnostics.report.record import RunRecord, number
from superpoint.diagnostics.report.sections import config_section, doctor_section, environment_section, heading
from superpoint.errors import UserError

Sheet = Sequence[tuple[str, NDArray[np.uint8]]]
RESULTS = "evaluation/classes.json"
SHARE, POSITIVE = (0.0, 1.02), (0.0, None)


def is_classifier(record: RunRecord) -> bool:
    """Return whether a run is of train-classifier."""
    return record.config.get("stage") == ClassifierConfig.stage


def render_classifier_report(records: Sequence[RunRecord], samples: Sheet, now: float) -> str:
    """HTML of one run, or the comparison of several.

    samples: training samples of a single run as (title, uint8 [H, W, 3]), as the network sees them.
    """
    if len(records) == 1:
        record = records[0]
        sections = [
            doctor_section(record),
            section("curves", "Curves", panel_grid(panels_of_one(record))),
            section("evaluation", "Evaluation on the test images", *evaluation_content(record)),
            samples_section(samples),
            probe_section(record),
            config_section(record),
            environment_section(record),
        ]
        return page(f"{record.label}: training report", heading(record, now), tag("main", *sections))
    sections = [
        section("curves", "Curves", panel_grid(panels_of_several(records))),
        section("evaluation", "Evaluation on the test images", comparison_table(records)),
        config_differences(records),
    ]
    title = f"Comparison of {', '.join(record.label for record in records)}"
    return page(title, comparison_heading(records, now), tag("main", *sections))


def panels_of_one(record: RunRecord) -> list[Panel]:
    expected = number(record.last("initial_loss").get("expected"))
    best = [record.best[1]] if record.best else []
    level = expected if math.isfinite(expected) else None
    return [
        Panel(
            "Loss", "cross-entropy, nats",
            [
                Curve("training, as augmented", *record.curve("train", "loss"), index=0, noisy=True),
                Curve("test", *record.curve("validate", "loss"), index=1),
            ],
            log=True, level=level, note="Dotted: ln(classes), expected of an untrained network." if level else "",
        ),
        Panel(
            "Accuracy", "share of right answers",
            [
                Curve("training, as augmented", *record.curve("train", "accuracy"), index=0, noisy=True),
                Curve("test", *record.curve("validate", "accuracy"), index=1),
            ],
            limits=SHARE, marks=best, note="Dashed line: best checkpoint." if best else "",
        ),
        Panel("Learning rate", "rate", [Curve("rate", *record.curve("train", "lr"))], limits=POSITIVE),
        Panel(
            "Gradient norm, before clipping", "norm",
            [
                Curve("mean", *record.curve("train", "grad_norm"), index=0, noisy=True),
                Curve("largest since the last line", *record.curve("train", "grad_norm_max"), index=1, noisy=True),
            ],
            log=True,
        ),
        Panel("Throughput", "images a second", [Curve("images", *record.curve("train", "img_per_s"), noisy=True)]),
        Panel("Time of an epoch", "seconds", [Curve("epoch", *record.curve("validate", "epoch_seconds"))],
              limits=POSITIVE),
    ]  # fmt: skip


def panels_of_several(records: Sequence[RunRecord]) -> list[Panel]:
    def curves(event: str, key: str) -> list[Curve]:
        return [
            Curve(record.label, *record.curve(event, key), index=index, noisy=event == "train", faint=False)
            for index, record in enumerate(records)
        ]

    return [
        Panel("Training loss, as augmented", "cross-entropy, nats", curves("train", "loss"), log=True),
        Panel("Test loss", "cross-entropy, nats", curves("validate", "loss"), log=True),
        Panel("Training accuracy, as augmented", "share of right answers", curves("train", "accuracy"), limits=SHARE),
        Panel("Test accuracy", "share of right answers", curves("validate", "accuracy"), limits=SHARE),
        Panel("Learning rate", "rate", curves("train", "lr"), limits=POSITIVE),
        Panel("Gradient norm, before clipping", "norm", curves("train", "grad_norm"), log=True),
    ]


def read_results(record: RunRecord) -> dict[str, Any]:
    """Content of evaluation/classes.json; empty if it cannot be read."""
    try:
        found = json.loads((record.path / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and {"accuracy", "confusion", "classes", "images"} <= set(found) else {}


def evaluation_content(record: RunRecord) -> list[Html]:
    found = read_results(record)
    if not found:
        return [missing(f"{RESULTS} is missing or cannot be read; it is written at the end of the training.")]
    confusion = np.asarray(found["confusion"])
    rows = []
    for label, name in enumerate(found["classes"]):
        true, said, right = confusion[label].sum(), confusion[:, label].sum(), confusion[label, label]
        shares = [f"{right / total:.3f}" if total else "-" for total in (true, said)]
        rows.append([name, str(true), *shares])
    words = (
        f"Weights of step {found.get('step', '?')}, the best on these very images (so a little too good); "
        f"{found.get('crops', 1)} crop(s) of each. Accuracy {found['accuracy']:.4f} of {found['images']} images, mean "
        f"over the classes {found.get('balanced_accuracy', math.nan):.4f}; at the end of the training "
        f"{number(found.get('last_accuracy')):.4f}."
    )
    content = [paragraph(words)]
    matrix, mistakes = (record.path / "evaluation" / name for name in ("confusion.png", "mistakes.png"))
    if matrix.is_file():
        content.append(png_figure(matrix, "Confusion matrix", "Shares of each true class by predicted class"))
    if mistakes.is_file():
        content.append(_photographs(mistakes, "Worst mistakes: true class, answer (its probability)"))
    return [*content, table(["class", "images", "recall", "precision"], rows, numeric=range(1, 4))]


def _photographs(path: Path, title: str) -> Html:
    """A sheet of photographs, which as PNG would make most of the page."""
    try:
        image = read_rgb(path)
    except UserError as error:
        return missing(f"{error}.")
    shown = picture(image_uri(image), f"{title}.", width=image.shape[1], height=image.shape[0])
    return figure(title, shown)


def comparison_table(records: Sequence[RunRecord]) -> Html:
    rows = []
    for record in records:
        found = read_results(record)
        values = [number(found.get(key)) for key in ("accuracy", "balanced_accuracy", "last_accuracy")]
        rows.append([record.label, str(found.get("images", "-")), *(f"{v:.4f}" if v == v else "-" for v in values)])
    return table(
        ["run", "images", "best accuracy", "mean over classes", "accuracy at the end"], rows, numeric=range(1, 5)
    )


def samples_section(samples: Sheet) -> Html:
    if not samples:
        text = "They cannot be drawn: config.yaml or the images cannot be read."
        return section("samples", "Training samples", missing(text))
    shown = [
        tag(
            "figure",
            tag("figcaption", title),
            picture(image_uri(image), f"{title}.", width=image.shape[1], height=image.shape[0]),
        )
        for title, image in samples
    ]
    text = paragraph("The first samples of the run, augmented as the network sees them.")
    return section("samples", "Training samples", text, tag("div", join(shown), class_="sheet"))
