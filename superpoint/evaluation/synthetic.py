"""Detection quality on synthetic shapes: average precision and localisation error, per primitive and pooled.

Protocol `synthetic-ap`: detections after a non-maximum suppression of radius 4 with a score above 1e-4, sub-pixel
refined, no limit on their number and **no border** (`border=0`): truth lies up to the image edge and counts, so a
decoder that drops a border would lose recall by definition. Matched greedily by score (`metrics.match_detections`)
within eps pixels, pooled over images. eps = 4 is that of the published notebook, eps = 2 is stricter.
The score floor holds for the network's probabilities; classical detectors have floors of their own
(`evaluation/classical.py`) on scores of another scale, which is of no matter to a ranking.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from superpoint.evaluation.metrics import (
    Matches,
    PrecisionRecall,
    average_precision,
    best_f1,
    localisation_error,
    match_detections,
    precision_recall,
)

Detections = tuple[NDArray[np.float32], NDArray[np.float32]]  # points [N, 2] (x, y), scores [N]
Detect = Callable[[NDArray[np.uint8]], Detections]  # image [H, W]
DetectBatch = Callable[[NDArray[np.uint8]], Sequence[Detections]]  # images [B, H, W]
Sample = tuple[str, NDArray[np.uint8], NDArray[np.float32]]  # primitive, image [H, W], points [M, 2]

POOLED = "pooled"
CURVE_POINTS = 200  # of a stored curve; enough for a plot, small enough for JSON


@dataclass(frozen=True)
class SyntheticProtocol:
    """The parameters a detector has to be run with, stored inside every result."""

    name: str = "synthetic-ap"
    eps: tuple[float, ...] = (2.0, 4.0)  # pixels, inclusive
    nms_radius: int = 4  # pixels
    threshold: float = 1e-4  # least probability of the network's points
    border: int = 0  # pixels
    max_keypoints: int = 0  # 0 = all
    subpixel: bool = True


class _Scene(Protocol):
    @property
    def image(self) -> NDArray[np.uint8]: ...
    @property
    def points(self) -> NDArray[np.float32]: ...
    @property
    def primitive(self) -> str: ...


class SceneSource(Protocol):
    """What `superpoint.data.synthetic.ShapeGenerator` offers."""

    def scene(self, index: int, primitive: str | None = None) -> _Scene: ...


class _Record(NamedTuple):
    primitive: str
    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    truth: NDArray[np.float32]


def synthetic_samples(
    source: SceneSource,
    count: int,
    *,
    primitives: Sequence[str] | None = None,
    noise: Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]] | None = None,
    seed: int = 0,
) -> Iterator[Sample]:
    """Scenes 0 .. count-1 of `source` as samples, optionally noisy.

    Args:
        primitives: drawn in turn (scene i shows primitives[i % len]); None leaves the mix to the source.
        noise: (image [H, W] uint8, rng) -> image of the same shape. It must not move anything. The clean and the
            noisy samples of equal index show the same scene.
        seed: of the noise; sample i depends on (seed, i) only.
    """
    for index in range(count):
        scene = source.scene(index, primitives[index % len(primitives)] if primitives else None)
        image = noise(scene.image, np.random.default_rng([seed, index])) if noise else scene.image
        yield scene.primitive, image, scene.points


def evaluate_synthetic(
    detect: Detect,
    samples: Iterable[Sample],
    *,
    eps: Sequence[float] = (2.0, 4.0),
    detector: str = "",
    variant: str = "",
    protocol: SyntheticProtocol | None = None,
) -> dict[str, Any]:
    """Run `detect` on every sample and summarise; see `evaluate_synthetic_batched` for arguments and result."""
    records = (_record(name, detect(image), truth) for name, image, truth in samples)
    return _summary(records, eps, detector, variant, protocol)


def evaluate_synthetic_batched(
    detect: DetectBatch,
    samples: Iterable[Sample],
    *,
    batch_size: int = 32,
    eps: Sequence[float] = (2.0, 4.0),
    detector: str = "",
    variant: str = "",
    protocol: SyntheticProtocol | None = None,
) -> dict[str, Any]:
    """Run `detect` on batches of equally large images and summarise.

    Args:
        detect: images [B, H, W] uint8 -> for each image points [N, 2] (x, y) and scores [N]. It has to apply the
            protocol's NMS, threshold and border: they are recorded here, not applied.
        samples: (primitive, image [H, W] uint8, points [M, 2] (x, y)); images are held in memory a batch at a time.
        eps: distances of a match in pixels; overrides the protocol's.
        detector, variant: names stored in the result ("magicpoint", "noisy").

    Returns:
        JSON-able dict: "protocol", "detector", "variant", "images"; "pooled" and "primitives"[name], each by eps
        ("2", "4"): ap, localisation_error (all true positives), localisation_error_best_f1 (those one would use),
        best_f1 {threshold, precision, recall, f1} or None, max_recall, images, truth, detections, true_positives;
        "mean_ap" by eps (over the primitives that have truth); "curves" by eps: recall and precision envelope of
        the pool. Undefined figures (AP without truth) are None.
    """
    return _summary(_batched_records(detect, samples, batch_size), eps, detector, variant, protocol)


def _record(primitive: str, detections: Detections, truth: NDArray[np.float32]) -> _Record:
    return _Record(primitive, *detections, truth)


def _batched_records(detect: DetectBatch, samples: Iterable[Sample], batch_size: int) -> Iterator[_Record]:
    if batch_size < 1:
        raise ValueError(f"batch_size: found {batch_size}, expected >= 1")
    waiting: list[Sample] = []

    def run() -> Iterator[_Record]:
        if waiting:
            found = detect(np.stack([image for _, image, _ in waiting]))
            for (name, _, truth), detections in zip(waiting, found, strict=True):
                yield _record(name, detections, truth)
        waiting.clear()

    for sample in samples:
        if len(waiting) == batch_size or (waiting and waiting[0][1].shape != sample[1].shape):
            yield from run()
        waiting.append(sample)
    yield from run()


def _summary(
    records: Iterable[_Record], eps: Sequence[float], detector: str, variant: str, protocol: SyntheticProtocol | None
) -> dict[str, Any]:
    distances = tuple(float(value) for value in eps)
    by_primitive: dict[str, dict[float, list[Matches]]] = {}
    images = 0
    for primitive, points, scores, truth in records:
        images += 1
        entry = by_primitive.setdefault(primitive, {value: [] for value in distances})
        for value in distances:
            entry[value].append(match_detections(points, scores, truth, value))
    names = sorted(by_primitive)
    pooled = {value: [match for name in names for match in by_primitive[name][value]] for value in distances}
    curves = {value: precision_recall(pooled[value]) for value in distances}
    primitives = {name: {f"{v:g}": _scores(by_primitive[name][v]) for v in distances} for name in names}
    recorded = asdict(protocol or SyntheticProtocol()) | {"eps": list(distances)}
    return {
        "protocol": recorded
        | {"matching": "greedy by score, nearest free truth", "integral": "rectangles under the precision envelope"},
        "detector": detector,
        "variant": variant,
        "images": images,
        POOLED: {f"{value:g}": _scores(pooled[value], curves[value]) for value in distances},
        "mean_ap": {f"{value:g}": _mean([primitives[n][f"{value:g}"]["ap"] for n in names]) for value in distances},
        "primitives": primitives,
        "curves": {f"{value:g}": _stored_curve(curves[value]) for value in distances},
    }


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
    """Pooled figures for a log: {"ap@2": .., "localisation@2": .., "f1@2": .., "ap@4": ..}; undefined ones left out."""
    metrics: dict[str, float | None] = {}
    for eps, scores in result[POOLED].items():
        metrics[f"{prefix}ap@{eps}"] = scores["ap"]
        metrics[f"{prefix}localisation@{eps}"] = scores["localisation_error"]
        metrics[f"{prefix}f1@{eps}"] = scores["best_f1"]["f1"] if scores["best_f1"] else None
    return {key: value for key, value in metrics.items() if value is not None}


def label(result: Mapping[str, Any]) -> str:
    """Detector and variant, or whichever of the two there is."""
    return ", ".join(part for part in (result["detector"], result["variant"]) if part)


def precision_recall_curves(
    results: Sequence[Mapping[str, Any]], eps: float
) -> dict[str, tuple[list[float], list[float]]]:
    """Pooled (recall, precision) by label, for `visualize.precision_recall_figure`."""
    curves = {label(result): result["curves"][f"{eps:g}"] for result in results}
    return {name: (curve["recall"], curve["precision"]) for name, curve in curves.items()}


def summary_table(results: Sequence[Mapping[str, Any]]) -> Table:
    """One row a result: at each eps pooled AP, mean AP over the primitives with truth, best F1, localisation error.

    The two APs of a classical detector lie far apart: the pool holds the images of pure noise, where it fires freely.
    """
    table = Table(title=f"Synthetic shapes, pooled over {results[0]['images']} images")
    table.add_column("detector")
    distances = list(results[0][POOLED])
    for eps in distances:
        for name in ("AP", "mean AP", "F1", "error"):
            table.add_column(f"{name} @{eps} px", justify="right")
    for result in results:
        cells = []
        for eps in distances:
            scores = result[POOLED][eps]
            best = scores["best_f1"]
            cells += [_cell(scores["ap"]), _cell(result["mean_ap"][eps]), _cell(best and best["f1"])]
            cells += [_cell(scores["localisation_error"], "{:.2f}")]
        table.add_row(label(result), *cells)
    return table


def primitive_table(results: Sequence[Mapping[str, Any]], eps: float) -> Table:
    """AP of each primitive (rows) for each result (columns).

    A primitive without truth shows its false positives an image instead: "12.3 fp".
    """
    key = f"{eps:g}"
    table = Table(title=f"Average precision by primitive, eps {key} px")
    table.add_column("primitive")
    for result in results:
        table.add_column(label(result), justify="right")
    for name in sorted({name for result in results for name in result["primitives"]}):
        table.add_row(name, *(_primitive_cell(result["primitives"].get(name, {}).get(key)) for result in results))
    table.add_section()
    table.add_row("mean", *(_cell(result["mean_ap"][key]) for result in results))
    table.add_row(POOLED, *(_cell(result[POOLED][key]["ap"]) for result in results))
    return table


def _cell(value: float | None, form: str = "{:.3f}") -> str:
    return "-" if value is None else form.format(value)


def _primitive_cell(scores: Mapping[str, Any] | None) -> str:
    if scores is None:
        return "-"
    return f"{scores['detections'] / scores['images']:.1f} fp" if scores["truth"] == 0 else _cell(scores["ap"])


def markdown_table(table: Table) -> str:
    """The cells of a table as GitHub Markdown, without its title."""
    rows = [[str(column.header) for column in table.columns]]
    rows.append(["---:" if column.justify == "right" else "---" for column in table.columns])
    rows += [list(map(str, row)) for row in zip(*(column.cells for column in table.columns), strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
