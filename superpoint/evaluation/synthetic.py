"""Detection quality on synthetic shapes: average precision and localisation error, per primitive and pooled.

Protocol `synthetic-ap`: suppression of radius 4, scores above 1e-4, sub-pixel refined, any number of keypoints and **no
border**, because truth lies up to the image edge. Matched by `metrics.match_detections` within eps pixels, pooled over
images. The published notebook used eps = 4.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from superpoint.config import DecodeConfig
from superpoint.evaluation.metrics import (
    Matches,
    PrecisionRecall,
    average_precision,
    best_f1,
    localisation_error,
    match_detections,
    precision_recall,
)
from superpoint.evaluation.tables import format_cell, make_table
from superpoint.features import Features

Image = NDArray[np.uint8]
Detect = Callable[[Sequence[Image]], Iterable[Features]]  # of images of one size
Sample = tuple[str, Image, NDArray[np.float32]]  # primitive, image, points [M, 2] (x, y)

DECODE = DecodeConfig(nms_radius=4, threshold=1e-4, border=0)
EPS = (2.0, 4.0)  # pixels, inclusive
POOLED = "pooled"
CURVE_POINTS = 200  # of a stored curve; enough for a plot, small enough for JSON


def evaluate_synthetic(
    detect: Detect,
    samples: Iterable[Sample],
    *,
    batch_size: int = 32,
    detector: str = "",
    variant: str = "",
) -> dict[str, Any]:
    """Run `detect` on batches of images of one size and summarise.

    Args:
        detect: it has to apply DECODE: that is recorded here, not applied.
        samples: images are held in memory a batch at a time.
        detector, variant: names stored in the result ("magicpoint", "noisy").

    Returns:
        JSON-able dict: "protocol", "detector", "variant", "images"; "pooled" and "primitives"[name], each by eps
        ("2", "4"): see `_scores`; "mean_ap" by eps (over the primitives that have truth); "curves" by eps: recall and
        precision envelope of the pool. Undefined figures (AP without truth) are None.
    """
    found: dict[str, dict[str, list[Matches]]] = {f"{eps:g}": defaultdict(list) for eps in EPS}
    images = 0
    for batch in _batches(samples, batch_size):
        detected = detect([image for _, image, _ in batch])
        for (primitive, _, truth), features in zip(batch, detected, strict=True):
            images += 1
            for eps in EPS:
                matches = match_detections(features.keypoints, features.scores, truth, eps)
                found[f"{eps:g}"][primitive].append(matches)
    names = sorted(found[f"{EPS[0]:g}"])
    pooled = {eps: [match for name in names for match in each[name]] for eps, each in found.items()}
    curves = {eps: precision_recall(matches) for eps, matches in pooled.items()}
    primitives = {name: {eps: _scores(each[name]) for eps, each in found.items()} for name in names}
    return {
        "protocol": {
            "name": "synthetic-ap",
            "eps": list(EPS),
            **asdict(DECODE),
            "matching": "greedy by score, nearest free truth",
            "integral": "rectangles under the precision envelope",
        },
        "detector": detector,
        "variant": variant,
        "images": images,
        POOLED: {eps: _scores(pooled[eps], curve) for eps, curve in curves.items()},
        "mean_ap": {eps: _mean([primitives[name][eps]["ap"] for name in names]) for eps in found},
        "primitives": primitives,
        "curves": {eps: _stored_curve(curve) for eps, curve in curves.items()},
    }


def _batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    for _, alike in groupby(samples, key=lambda sample: sample[1].shape):
        while batch := list(islice(alike, size)):
            yield batch


def _scores(matches: Sequence[Matches], curve: PrecisionRecall | None = None) -> dict[str, Any]:
    curve = curve or precision_recall(matches)
    best = best_f1(curve)
    return {
        "ap": _number(average_precision(curve)),
        "localisation_error": _number(localisation_error(matches)),
        "localisation_error_best_f1": _number(localisation_error(matches, best.threshold)) if best else None,
        "best_f1": best._asdict() if best else None,
        "max_recall": _number(curve.recall[-1]) if len(curve.recall) else (0.0 if curve.truth else None),
        "images": len(matches),
        "truth": curve.truth,
        "detections": sum(len(match.scores) for match in matches),
        "true_positives": sum(int(match.true_positive.sum()) for match in matches),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _stored_curve(curve: PrecisionRecall) -> dict[str, list[float]]:
    """The precision envelope at <= CURVE_POINTS recalls; it starts at recall 0."""
    if curve.truth == 0 or not len(curve.recall):
        return {"recall": [], "precision": []}
    envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
    steps = np.linspace(curve.recall[0], curve.recall[-1], CURVE_POINTS)
    kept = np.unique(np.searchsorted(curve.recall, steps).clip(max=len(curve.recall) - 1))
    recall, precision = np.append(0.0, curve.recall[kept]), np.append(envelope[0], envelope[kept])
    return {"recall": recall.round(5).tolist(), "precision": precision.round(5).tolist()}


def flat_metrics(result: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the pooled figures that are defined, for a log: {"ap@2": .., "localisation@2": .., "f1@2": .., ...}."""
    metrics: dict[str, float | None] = {}
    for eps, scores in result[POOLED].items():
        metrics[f"{prefix}ap@{eps}"] = scores["ap"]
        metrics[f"{prefix}localisation@{eps}"] = scores["localisation_error"]
        metrics[f"{prefix}f1@{eps}"] = scores["best_f1"]["f1"] if scores["best_f1"] else None
    return {key: value for key, value in metrics.items() if value is not None}


def label(result: Mapping[str, Any]) -> str:
    """Return detector and variant, or whichever of the two there is."""
    return ", ".join(part for part in (result["detector"], result["variant"]) if part)


def precision_recall_curves(
    results: Sequence[Mapping[str, Any]], eps: float
) -> dict[str, tuple[list[float], list[float]]]:
    """Return pooled (recall, precision) by label, for `visualize.precision_recall_figure`."""
    curves = {label(result): result["curves"][f"{eps:g}"] for result in results}
    return {name: (curve["recall"], curve["precision"]) for name, curve in curves.items()}


def summary_table(results: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row per result: at each eps pooled AP, mean AP over primitives with truth, best F1, localisation."""
    distances = list(results[0][POOLED])
    columns = [f"{name} @{eps} px" for eps in distances for name in ("AP", "mean AP", "F1", "error")]
    table = make_table(f"Synthetic shapes, pooled over {results[0]['images']} images", ["detector"], columns)
    for result in results:
        cells = []
        for eps in distances:
            scores = result[POOLED][eps]
            best = scores["best_f1"]
            cells += [format_cell(scores["ap"]), format_cell(result["mean_ap"][eps]), format_cell(best and best["f1"])]
            cells += [format_cell(scores["localisation_error"], ".2f")]
        table.add_row(label(result), *cells)
    return table


def primitive_table(results: Sequence[Mapping[str, Any]], eps: float) -> Table:
    """Return the AP of each primitive (rows) for each result (columns); without truth "12.3 fp" per image."""
    key = f"{eps:g}"
    title = f"Average precision by primitive, eps {key} px"
    table = make_table(title, ["primitive"], [label(result) for result in results])
    for name in sorted({name for result in results for name in result["primitives"]}):
        table.add_row(name, *(_primitive_cell(result["primitives"].get(name, {}).get(key)) for result in results))
    table.add_section()
    table.add_row("mean", *(format_cell(result["mean_ap"][key]) for result in results))
    table.add_row(POOLED, *(format_cell(result[POOLED][key]["ap"]) for result in results))
    return table


def _primitive_cell(scores: Mapping[str, Any] | None) -> str:
    if scores is None:
        return "-"
    return f"{scores['detections'] / scores['images']:.1f} fp" if scores["truth"] == 0 else format_cell(scores["ap"])
