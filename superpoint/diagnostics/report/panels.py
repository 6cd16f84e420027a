"""Which curves the report shows: of one run with all its quantities, or of several with one quantity a panel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from superpoint.config import SuperPointConfig
from superpoint.diagnostics.report.curves import Curve, Panel, draw_matrix
from superpoint.diagnostics.report.record import RunRecord, ap_keys, number

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
    ("detections", "Detections", "points an image", False, POSITIVE),
    ("sharpness", "Sharpness of peaks", "peak / 5x5 sum", False, SHARE),
    ("cell_pattern", "Pattern common to all cells", "share of variation", False, SHARE),
    ("input_sensitivity", "Sensitivity to the input", "share of variance", False, SHARE),
    ("border", "Density of points at the border", "relative to the image", False, POSITIVE),
    ("logit_max", "Largest logit", "absolute value", True, None),
    ("cell_scale", "Range of logsumexp over cells", "nats", True, None),
    ("naive_exp_overflow", "Cells where a naive exp() overflows", "share of cells", False, SHARE),
)


def training_panels(records: Sequence[RunRecord]) -> list[Panel]:
    """Panels of the events train and validate; those without a value are among them (`Panel.drawn`)."""
    panels = _panels_of_one(records[0]) if len(records) == 1 else _panels_of_several(records)
    end = float(max(record.step for record in records))
    return [replace(panel, x_end=end) if panel.x_label == "step" else panel for panel in panels]


def probe_panels(records: Sequence[RunRecord]) -> list[Panel]:
    """Panels of the network's output in probed steps; empty without probe lines."""
    panels = []
    for key, title, unit, log, limits in OUTPUT_CURVES:
        curves = [
            Curve(record.label, *_nested(record, ("output", key)), index=index, noisy=True, faint=len(records) == 1)
            for index, record in enumerate(records)
        ]
        panels.append(Panel(title, unit, curves, log=log, limits=limits))
    return [panel for panel in panels if panel.drawn]


def layer_maps(record: RunRecord) -> list[tuple[str, str, str]]:
    """(title, SVG, description) of each figure that probes measure in every layer: a row a layer, a column a step."""
    probes = [entry for entry in record.events("probe") if isinstance(entry.get("layers"), Mapping)]
    names = list(dict.fromkeys(name for entry in probes for name in entry["layers"]))
    steps = [entry["step"] for entry in probes]
    maps = []
    for key, title, unit, log, colors in LAYER_MAPS:
        rows = [name for name in names if any(key in _mapping(entry["layers"].get(name)) for entry in probes)]
        values = np.array(
            [[number(_mapping(entry["layers"].get(name)).get(key)) for entry in probes] for name in rows], np.float64
        )
        if not values.size or not np.isfinite(values).any():
            continue
        groups = np.array_split(np.arange(len(steps)), min(len(steps), 200))  # columns of about a pixel
        columns = np.stack([_means(values[:, group]) for group in groups], axis=1)
        svg = draw_matrix(columns, rows, [steps[group[0]] for group in groups], unit, log=log, name=colors)
        last = {
            name: row[np.isfinite(row)][-1] for name, row in zip(rows, values, strict=True) if np.isfinite(row).any()
        }
        words = ", ".join(f"{name} {value:.2g}" for name, value in last.items())
        maps.append((title, svg, f"{title} by layer and step. In the last probed step: {words}."))
    return maps


def _panels_of_one(record: RunRecord) -> list[Panel]:
    best = [record.best[1]] if record.best else []
    expected = number(record.last("initial_loss").get("expected"))
    broken = [entry["step"] for entry in record.events("nonfinite")]
    clip = _positive(record.config.get("train.clip_norm", ""))
    scores = ap_keys(record)
    # The looser distance first: it is the one the published figures are for.
    scores.sort(key=lambda found: (-float(found[2]), found[1]))
    distances = list(dict.fromkeys(eps for _, _, eps in scores))
    wait = [value for value in record.curve("train", "data_wait")[1] if math.isfinite(value)]
    waited = f"{np.mean(wait):.0%} of the time was spent waiting for data." if wait else ""
    return [
        Panel(
            "Loss",
            _loss_name([record]),
            [
                Curve("training", *record.curve("train", "loss"), index=0, noisy=True),
                Curve("validation", *record.curve("validate", "loss"), index=1),
            ],
            log=True,
            level=expected if math.isfinite(expected) else None,
            marks=broken,
            note=("Dotted: expected of an untrained network." if math.isfinite(expected) else "")
            + (" Dashed line: not finite." if broken else ""),
        ),
        Panel(
            "Average precision",
            "AP",
            [
                Curve(f"{variant}, {eps} px", *record.curve("validate", key), index=index)
                for index, (key, variant, eps) in enumerate(scores)
            ],
            marks=best,
            note="Of validation scenes. Dashed line: best checkpoint." if best else "",
        ),
        Panel(
            "Localisation error",
            "pixels",
            [
                Curve(f"{variant}, {eps} px", *record.curve("validate", f"{variant}/localisation@{eps}"), index=index)
                for index, (_, variant, eps) in enumerate(scores)
                if eps in distances
            ],
            marks=best,
            note="Mean distance of the matched points.",
        ),
        Panel("Learning rate", "rate", [Curve("rate", *record.curve("train", "lr"))], limits=POSITIVE),
        Panel(
            "Gradient norm, before clipping",
            "norm",
            [
                Curve("mean", *record.curve("train", "grad_norm"), index=0, noisy=True),
                Curve("largest since the last line", *record.curve("train", "grad_norm_max"), index=1, noisy=True),
            ],
            log=True,
            level=clip,
            note=f"Dotted: train.clip_norm = {clip:g}." if clip else "",
        ),
        Panel(
            "Dustbin and recall",
            "share",
            [
                Curve("dustbin probability, mean", *record.curve("train", "dustbin"), index=0, noisy=True),
                Curve("labelled cells found", *record.curve("train", "positive_recall"), index=1, noisy=True),
            ],
            limits=SHARE,
            note="Found: the dustbin holds less than half.",
        ),
        Panel(
            "Throughput", "images a second", [Curve("images", *record.curve("train", "img_per_s"), noisy=True)],
            limits=POSITIVE, note=waited,
        ),
        Panel(
            "Largest loss and largest change",
            "nats",
            [
                Curve("loss of a step", *record.curve("train", "loss_max"), index=0, noisy=True),
                Curve("change between steps", *_absolute(record.curve("train", "loss_jump")), index=1, noisy=True),
            ],
            log=True,
            note="Since the last line of the log.",
        ),
        Panel(
            "Loss over time", _loss_name([record]), [Curve("training", *_over_time(record, "loss"), noisy=True)],
            log=True, x_label="minutes of training",
        ),
    ]  # fmt: skip


def _panels_of_several(records: Sequence[RunRecord]) -> list[Panel]:
    def curves(event: str, key: str, *, noisy: bool = True) -> list[Curve]:
        return [
            Curve(record.label, *record.curve(event, key), index=index, noisy=noisy, faint=False)
            for index, record in enumerate(records)
        ]

    scores = dict.fromkeys(key for record in records for key in ap_keys(record))
    widest = max((float(eps) for _, _, eps in scores), default=0.0)
    chosen = [found for found in scores if float(found[2]) == widest]
    timed = [
        Curve(record.label, *_over_time(record, "loss"), index=index, noisy=True, faint=False)
        for index, record in enumerate(records)
    ]
    loss = _loss_name(records)
    selecting = dict.fromkeys(record.selected_by for record in records if record.selected_by)
    return [
        Panel("Training loss", loss, curves("train", "loss"), log=True),
        Panel("Training loss over time", loss, timed, log=True, x_label="minutes of training"),
        Panel("Validation loss", loss, curves("validate", "loss", noisy=False), log=True),
        *(Panel(f"Best by: {name}", name, curves("validate", name, noisy=False)) for name in selecting),
        *(
            Panel(f"Average precision, {variant}, {eps} px", "AP", curves("validate", key, noisy=False))
            for key, variant, eps in chosen
        ),
        *(
            Panel(
                f"Localisation error, {variant}, {eps} px", "pixels",
                curves("validate", f"{variant}/localisation@{eps}", noisy=False),
            )
            for _, variant, eps in chosen
        ),
        Panel("Learning rate", "rate", curves("train", "lr", noisy=False), limits=POSITIVE),
        Panel("Gradient norm, before clipping", "norm", curves("train", "grad_norm"), log=True),
        Panel("Dustbin probability", "mean probability", curves("train", "dustbin"), limits=SHARE),
        Panel("Labelled cells found", "share", curves("train", "positive_recall"), limits=SHARE),
        Panel("Throughput", "images a second", curves("train", "img_per_s"), limits=POSITIVE),
    ]  # fmt: skip


def _loss_name(records: Sequence[RunRecord]) -> str:
    """What "loss" is of: a run that trains descriptors adds their part."""
    joint = any(record.config.get("stage") == SuperPointConfig.stage for record in records)
    return "loss of both parts" if joint else "detector loss, nats"


def _over_time(record: RunRecord, key: str) -> tuple[list[float], list[float]]:
    """Minutes of training and the values of a key of the train lines."""
    lines = [entry for entry in record.events("train") if key in entry and math.isfinite(number(entry.get("elapsed")))]
    return [number(entry["elapsed"]) / 60 for entry in lines], [number(entry[key]) for entry in lines]


def _absolute(curve: tuple[list[float], list[float]]) -> tuple[list[float], list[float]]:
    return curve[0], [abs(value) for value in curve[1]]


def _nested(record: RunRecord, path: Iterable[str]) -> tuple[list[float], list[float]]:
    steps, values = [], []
    for entry in record.events("probe"):
        value: Any = entry
        for key in path:
            value = _mapping(value).get(key)
        steps.append(float(entry["step"]))
        values.append(number(value))
    return steps, values


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _means(values: np.ndarray) -> np.ndarray:
    """Mean of each row [R, N] -> [R] over its finite values; NaN if it has none."""
    finite = np.isfinite(values)
    count = finite.sum(axis=1)
    total = np.where(finite, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
