"""Section of the report about descriptors: how their loss went, how alike places are, which matches are right."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from superpoint.diagnostics.report.curves import Curve, Panel
from superpoint.diagnostics.report.figures import panel_grid
from superpoint.diagnostics.report.page import Html, figure, image_uri, missing, paragraph, picture, section, table, tag
from superpoint.diagnostics.report.pictures import DescriptorPictures
from superpoint.diagnostics.report.record import RunRecord, number

RESULTS = "evaluation/generated_pairs.json"  # of stage train-superpoint
SHARE = (0.0, 1.02)
BIN = 4.0  # degrees
COLUMNS = (
    ("correct@1", "homography within 1 px"), ("correct@3", "3 px"), ("correct@5", "5 px"), ("auc@5", "AUC@5"),
    ("mma@1", "matches within 1 px"), ("mma@3", "3 px"), ("repeatability@1", "repeatability at 1 px"),
    ("repeatability@3", "3 px"), ("localisation", "error, px"), ("matches", "matches"),
)  # fmt: skip


def is_joint(record: RunRecord) -> bool:
    """Whether the run trains descriptors, by its configuration."""
    return any(key.startswith("descriptor.") for key in record.config)


def descriptor_section(record: RunRecord, found: DescriptorPictures) -> Html:
    """Curves, histogram, pairs with their matches, and the table of generated pairs beside SIFT."""
    panels = [panel for panel in (*descriptor_panels(record), similarity_panel(found)) if panel.drawn]
    content: list[Html] = [panel_grid(panels)] if panels else [missing("Nothing of the descriptors is logged yet.")]
    content += [missing(note) for note in found.notes]
    content += [
        figure(title, picture(image_uri(image, 70), f"{title}.", width=image.shape[1], height=image.shape[0]))
        for title, image in found.pictures
    ]
    return section("descriptors", "Descriptors", *content, *pair_tables(record))


def descriptor_panels(record: RunRecord) -> list[Panel]:
    """Panels of one run; those without a value are among them (`Panel.drawn`)."""
    best = [record.best[1]] if record.best else []

    def train(*keys: tuple[str, str]) -> list[Curve]:
        return [
            Curve(name, *record.curve("train", key), index=index, noisy=True) for index, (key, name) in enumerate(keys)
        ]

    def validate(*keys: tuple[str, str]) -> list[Curve]:
        return [Curve(name, *record.curve("validate", key), index=index) for index, (key, name) in enumerate(keys)]

    parts = [*train(("detector_loss", "detector"), ("descriptor_loss", "descriptor"))]
    parts += [
        Curve(f"{name}, held-out pairs", *record.curve("validate", key), index=index)
        for index, (key, name) in enumerate(
            (("detector_loss", "detector"), ("descriptor_loss", "descriptor")), start=len(parts)
        )
    ]
    similarity = (
        ("positive_similarity", "two views of a place"),
        ("negative_similarity", "different places"),
        ("hardest_negative", "most similar other place"),
        ("collapse", "different images"),
    )
    matching = [*train(("matching_accuracy", "training pairs"))]
    matching.append(Curve("held-out pairs", *record.curve("validate", "matching_accuracy"), index=1))
    weight, position = (
        record.config.get(key, default) for key, default in (("descriptor.weight", "1.0"), ("position", "0.0"))
    )
    places = [
        *train(("position_loss", "training pairs")),
        Curve("held-out pairs", *record.curve("validate", "position_loss"), index=1),
    ]
    panels = [
        Panel("Both parts of the loss", "loss", parts, log=True, note=f"The descriptor's counts {weight} times."),
        Panel("Points of both views", "px apart", places, note=f"Position loss, counts {position} times."),
        Panel("Similarity", "mean cosine", train(*similarity), note="Of sampled places of training pairs."),
        Panel("Matching accuracy", "share of places", matching, limits=SHARE, note="Nearest descriptor, within 8 px."),
        Panel(
            "Homographies of generated pairs", "share of pairs",
            validate(("pairs/correct@1", "within 1 px"), ("pairs/correct@3", "within 3 px"),
                     ("pairs/correct@5", "within 5 px"), ("pairs/auc@5", "AUC up to 5 px")),
            limits=SHARE, marks=best, note="Of held-out photographs, RANSAC 3 px. Dashed line: best checkpoint."),
        Panel(
            "Matches and points of generated pairs", "share",
            validate(("pairs/mma@1", "matches within 1 px"), ("pairs/mma@3", "matches within 3 px"),
                     ("pairs/repeatability@1", "repeated at 1 px"), ("pairs/repeatability@3", "repeated at 3 px")),
            limits=SHARE, marks=best, note="Mutual nearest neighbours of the strongest points."),
    ]  # fmt: skip
    return panels


def similarity_panel(found: DescriptorPictures) -> Panel:
    """Histogram of angles between descriptors: separate where places are told apart."""
    edges = np.arange(0, 180 + BIN, BIN)
    curves = []
    for index, (name, values) in enumerate((("two views of a place", found.positive), ("different", found.negative))):
        finite = values[np.isfinite(values)]
        if not len(finite):
            continue
        angles = np.degrees(np.arccos(np.clip(finite.astype(np.float64), -1, 1)))
        share = np.histogram(angles, edges)[0] / len(angles)
        curves.append(Curve(name, edges[1:].tolist(), share.tolist(), index=index, steps=True))
    return Panel(
        "Angles between descriptors", f"share in {BIN:g} degrees", curves, limits=(0.0, None), x_end=180.0,
        x_label="angle, degrees", note="0: the same, 90: unrelated (cosine 0). The further apart, the better.",
    )  # fmt: skip


def pair_tables(record: RunRecord) -> list[Html]:
    """Network and SIFT on generated pairs, as the stage measured them at its end."""
    path = record.path / RESULTS
    if not path.is_file():
        return []
    try:
        results: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            [f"{name}, {'all pairs' if kind == 'pairs' else kind}", *(_cell(values, kind, key) for key, _ in COLUMNS)]
            for name, values in results.items()
            for kind in dict.fromkeys(key.split("/")[0] for key in values)
        ]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return [missing(f"{RESULTS} cannot be read ({type(error).__name__}: {error}).")]
    titles = ["generated pairs", *(title for _, title in COLUMNS)]
    note = "Pairs of held-out photographs that nothing was selected on. RANSAC 3 px, mutual nearest neighbours."
    return [
        tag("h3", "Generated pairs, beside SIFT"),
        paragraph(note, kind="note"),
        table(titles, rows, numeric=range(1, len(titles))),
    ]


def _cell(values: dict[str, Any], kind: str, key: str) -> str:
    value = number(values.get(f"{kind}/{key}"))
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if key == "matches" else f"{value:.3f}"
