"""Which curves the report shows: of one run with all its quantities, or of several with one quantity per panel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from superpoint.config import SuperPointConfig
from superpoint.diagnostics.report.curves import Curve, Matrix, Panel
from superpoint.diagnostics.report.pictures import DescriptorPictures
from superpoint.diagnostics.report.record import RunRecord, is_number, lookup, number
from superpoint.evaluation.synthetic import precision_recall_curves

# Keys of "layers" in a probe line: (key, title, unit, logarithmic, colour map).
LAYER_MAPS = (
    ("update_ratio", "Update ratio", "|change of the weight| / |weight|", True, "viridis"),
    ("grad_norm", "Gradient norm of the weight", "gradient norm", True, "viridis"),
    ("std", "Spread of the output", "standard deviation", True, "viridis"),
    ("mean", "Mean of the output", "mean", False, "viridis"),
    ("weight_norm", "Norm of the weight", "Euclidean norm", True, "viridis"),
    ("dead", "Dead channels", "share of channels", False, "cividis"),
)
SHARE, POSITIVE = (0.0, 1.02), (0.0, None)  # limits of an axis
# Keys of "output" in a probe line: (key, title, unit, logarithmic, limits).
OUTPUT_CURVES = (
    ("dustbin", "Dustbin probability in probed steps", "mean probability", False, SHARE),
    ("detections", "Detections", "detections per image", False, POSITIVE),
    ("sharpness", "Sharpness of peaks", "peak / 5x5 sum", False, SHARE),
    ("cell_pattern", "Pattern common to all cells", "share of variation", False, SHARE),
    ("input_sensitivity", "Sensitivity to the input", "share of variance", False, SHARE),
    ("border", "Density of detections at the border", "relative to the image", False, POSITIVE),
    ("logit_max", "Largest logit", "absolute value", True, None),
    ("cell_scale", "Range of logsumexp over cells", "nats", True, None),
    ("naive_exp_overflow", "Cells where a naive exp() overflows", "share of cells", False, SHARE),
)
BIN = 4.0  # degrees


def curves(record: RunRecord, event: str, names: Mapping[str, str], first: int = 0) -> list[Curve]:
    """Return a curve per key of the lines of an event, named by `names`; `first` is the index of the first."""
    return [
        Curve(name, *record.curve(event, key), index=index, noisy=event == "train")
        for index, (key, name) in enumerate(names.items(), first)
    ]


def learning(record: RunRecord, key: str, training: str = "training", validation: str = "validation") -> list[Curve]:
    """Return a quantity in training and in validation."""
    return [*curves(record, "train", {key: training}), *curves(record, "validate", {key: validation}, 1)]


def compared(records: Sequence[RunRecord], event: str, key: str) -> list[Curve]:
    """Return a curve per run."""
    return [
        Curve(record.label, *record.curve(event, key), index=index, noisy=event == "train", faint=False)
        for index, record in enumerate(records)
    ]


def gradient_panel(record: RunRecord) -> Panel:
    clip = number(_number(record.config.get("train.clip_norm", "")))
    names = {"grad_norm": "mean", "grad_norm_max": "largest since the last line"}
    return Panel(
        "Gradient norm, before clipping", "norm", curves(record, "train", names), log=True,
        level=clip if clip > 0 else math.nan, note=f"Dotted: train.clip_norm = {clip:g}." if clip > 0 else "",
    )  # fmt: skip


def training_panels(records: Sequence[RunRecord]) -> list[Panel]:
    """Return the panels of the events train and validate, also those without a value (`Panel.shown`)."""
    panels = _panels_of_one(records[0]) if len(records) == 1 else _panels_of_several(records)
    end = float(max(record.step for record in records))
    return [replace(panel, x_end=end) if panel.x_label == "step" else panel for panel in panels]


def probe_panels(record: RunRecord) -> list[Panel]:
    """Return panels of the network's output in probed steps."""
    return [
        Panel(title, unit, [Curve(title, *record.curve("probe", "output", key), noisy=True)], log=log, limits=limits)
        for key, title, unit, log, limits in OUTPUT_CURVES
    ]


def layer_maps(record: RunRecord) -> list[Matrix]:
    """Return what probes measure in every layer: a row per layer, a column per probed step."""
    probes = record.history.events("probe")
    names = list(dict.fromkeys(name for entry in probes for name in _layers(entry)))
    maps = []
    for key, title, unit, log, colors in LAYER_MAPS:
        rows = [name for name in names if any(is_number(lookup(_layers(entry), name, key)) for entry in probes)]
        values = [[number(lookup(_layers(entry), name, key)) for entry in probes] for name in rows]
        if rows:
            steps = [entry["step"] for entry in probes]
            maps.append(Matrix(title, unit, rows, steps, np.array(values), log=log, colors=colors))
    return maps


def _layers(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    found = entry.get("layers")
    return found if isinstance(found, Mapping) else {}


def _panels_of_one(record: RunRecord) -> list[Panel]:
    best = [record.best[1]] if record.best else []
    expected = number(record.last("initial_loss").get("expected"))
    broken = [entry["step"] for entry in record.history.events("nonfinite")]
    # The looser distance first: it is the one the published figures are for.
    scores = sorted(record.ap_keys, key=lambda found: (-float(found[2]), found[1]))
    precisions = {key: f"{variant}, {eps} px" for key, variant, eps in scores}
    errors = {f"{variant}/localisation@{eps}": f"{variant}, {eps} px" for _, variant, eps in scores}
    wait = [value for value in record.curve("train", "data_wait")[1] if math.isfinite(value)]
    dotted = "Dotted: expected of an untrained network." if math.isfinite(expected) else ""
    largest = [
        *curves(record, "train", {"loss_max": "loss of a step"}),
        Curve("change between steps", *_absolute(record.curve("train", "loss_jump")), index=1, noisy=True),
    ]
    return [
        Panel(
            "Loss", _loss_name([record]), learning(record, "loss"), log=True, level=expected, marks=broken,
            note=f"{dotted} Dashed line: not finite." if broken else dotted,
        ),
        Panel(
            "Average precision", "AP", curves(record, "validate", precisions), marks=best,
            note="Of validation scenes. Dashed line: best checkpoint." if best else "",
        ),
        Panel(
            "Localisation error", "pixels", curves(record, "validate", errors), marks=best,
            note="Mean distance of the matched detections.",
        ),
        Panel("Learning rate", "rate", curves(record, "train", {"lr": "rate"}), limits=POSITIVE),
        gradient_panel(record),
        Panel(
            "Dustbin and recall", "share",
            curves(record, "train", {"dustbin": "dustbin probability, mean", "positive_recall": "recall of cells"}),
            limits=SHARE, note="Recall: the dustbin holds less than half.",
        ),
        Panel(
            "Throughput", "images per second", curves(record, "train", {"img_per_s": "images"}), limits=POSITIVE,
            note=f"{np.mean(wait):.0%} of the time was spent waiting for data." if wait else "",
        ),
        Panel("Largest loss and largest change", "nats", largest, log=True, note="Since the last line of the log."),
        Panel(
            "Loss over time", _loss_name([record]), [Curve("training", *_over_time(record), noisy=True)],
            log=True, x_label="minutes of training",
        ),
    ]  # fmt: skip


def _panels_of_several(records: Sequence[RunRecord]) -> list[Panel]:
    scores = dict.fromkeys(key for record in records for key in record.ap_keys)
    loosest = max((float(eps) for _, _, eps in scores), default=0.0)
    chosen = [(key, variant, eps) for key, variant, eps in scores if float(eps) == loosest]
    timed = [replace(curve, x=_over_time(record)[0], y=_over_time(record)[1])
             for curve, record in zip(compared(records, "train", "loss"), records, strict=True)]  # fmt: skip
    loss = _loss_name(records)
    selecting = dict.fromkeys(record.selected_by for record in records if record.selected_by)

    def panel(title: str, unit: str, event: str, key: str, **options: Any) -> Panel:
        return Panel(title, unit, compared(records, event, key), **options)

    return [
        panel("Training loss", loss, "train", "loss", log=True),
        Panel("Training loss over time", loss, timed, log=True, x_label="minutes of training"),
        panel("Validation loss", loss, "validate", "loss", log=True),
        *(panel(f"Best by: {name}", name, "validate", name) for name in selecting),
        *(panel(f"Average precision, {name}, {eps} px", "AP", "validate", key) for key, name, eps in chosen),
        *(
            panel(f"Localisation error, {name}, {eps} px", "pixels", "validate", f"{name}/localisation@{eps}")
            for _, name, eps in chosen
        ),
        panel("Learning rate", "rate", "train", "lr", limits=POSITIVE),
        panel("Gradient norm, before clipping", "norm", "train", "grad_norm", log=True),
        panel("Dustbin probability", "mean probability", "train", "dustbin", limits=SHARE),
        panel("Recall of labelled cells", "share", "train", "positive_recall", limits=SHARE),
        panel("Throughput", "images per second", "train", "img_per_s", limits=POSITIVE),
    ]


def descriptor_panels(record: RunRecord) -> list[Panel]:
    """Return panels of a run that trains descriptors, also those without a value."""
    best = [record.best[1]] if record.best else []
    weight = record.config.get("descriptor.weight", "1.0")
    pull = record.config.get("position", "0.0")
    parts = {"detector_loss": "detector", "descriptor_loss": "descriptor"}
    held_out = {key: f"{name}, held-out pairs" for key, name in parts.items()}
    similarity = {
        "positive_similarity": "correspondences",
        "negative_similarity": "other pairs of keypoints",
        "hardest_negative": "most similar other",
        "collapse": "different images",
    }
    homographies = {
        "pairs/correct@1": "within 1 px",
        "pairs/correct@3": "within 3 px",
        "pairs/correct@5": "within 5 px",
        "pairs/auc@5": "AUC up to 5 px",
    }
    shares = {
        "pairs/mma@1": "MMA@1",
        "pairs/mma@3": "MMA@3",
        "pairs/repeatability@1": "repeatability at 1 px",
        "pairs/repeatability@3": "repeatability at 3 px",
    }
    names = ("training pairs", "held-out pairs")
    return [
        Panel(
            "Both parts of the loss", "loss",
            [*curves(record, "train", parts), *curves(record, "validate", held_out, len(parts))],
            log=True, note=f"The descriptor's counts {weight} times.",
        ),
        Panel(
            "Distance of corresponding keypoints", "px", learning(record, "position_loss", *names),
            note=f"Position loss, counts {pull} times.",
        ),
        Panel(
            "Similarity", "mean cosine", curves(record, "train", similarity),
            note="Of sampled correspondences of training pairs.",
        ),
        Panel(
            "Matching accuracy", "share of correspondences", learning(record, "matching_accuracy", *names),
            limits=SHARE, note="Nearest descriptor, within 8 px.",
        ),
        Panel(
            "Homographies of generated pairs", "share of pairs", curves(record, "validate", homographies),
            limits=SHARE, marks=best, note="Of held-out photographs, RANSAC 3 px. Dashed line: best checkpoint.",
        ),
        Panel(
            "Matches and keypoints of generated pairs", "share", curves(record, "validate", shares),
            limits=SHARE, marks=best, note="Mutual nearest neighbours of the strongest keypoints.",
        ),
    ]  # fmt: skip


def similarity_panel(found: DescriptorPictures) -> Panel:
    """Return the histogram of angles between descriptors: separate where keypoints are told apart."""
    edges = np.arange(0, 180 + BIN, BIN)
    drawn = []
    for index, (name, values) in enumerate((("correspondences", found.positive), ("others", found.negative))):
        finite = values[np.isfinite(values)]
        if len(finite):
            angles = np.degrees(np.arccos(np.clip(finite.astype(np.float64), -1, 1)))
            share = np.histogram(angles, edges)[0] / len(angles)
            drawn.append(Curve(name, edges[1:].tolist(), share.tolist(), index=index, steps=True))
    return Panel(
        "Angles between descriptors", f"share in {BIN:g} degrees", drawn, limits=POSITIVE, x_end=180.0,
        x_label="angle, degrees", note="0: the same, 90: unrelated (cosine 0). The further apart, the better.",
    )  # fmt: skip


def precision_recall_panels(results: Sequence[Mapping[str, Any]], eps: float) -> list[Panel]:
    """Return a panel per variant: (recall, precision) of every detector."""
    panels = []
    for variant in dict.fromkeys(result["variant"] for result in results):
        chosen = [result for result in results if result["variant"] == variant]
        drawn = [
            Curve(name.removesuffix(f", {variant}"), *curve, index=index, steps=True)
            for index, (name, curve) in enumerate(precision_recall_curves(chosen, eps).items())
        ]
        title = f"Precision and recall, {variant}, matches within {eps:g} px"
        panels.append(Panel(title, "precision", drawn, x_label="recall", x_end=1.0, limits=SHARE))
    return panels


def _loss_name(records: Sequence[RunRecord]) -> str:
    """What "loss" is of: a run that trains descriptors adds their part."""
    joint = any(record.config.get("stage") == SuperPointConfig.stage for record in records)
    return "loss of both parts" if joint else "detector loss, nats"


def _over_time(record: RunRecord) -> tuple[list[float], list[float]]:
    """Minutes of training and the loss."""
    lines = [entry for entry in record.history.events("train") if is_number(entry.get("elapsed")) and "loss" in entry]
    return [entry["elapsed"] / 60 for entry in lines], [number(entry["loss"]) for entry in lines]


def _absolute(curve: tuple[list[float], list[float]]) -> tuple[list[float], list[float]]:
    return curve[0], [abs(value) for value in curve[1]]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
