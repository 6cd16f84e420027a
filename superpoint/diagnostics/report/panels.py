"""Which curves the report shows of a run."""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from superpoint.diagnostics.report.curves import Curve, Panel
from superpoint.diagnostics.report.record import RunRecord, lookup, number

# Keys of "layers" in a probe line: (key, title, unit, logarithmic, healthy).
LAYER_CURVES = (
    ("update_ratio", "Update ratio", "|change| / |weight|", True, ".001 until the rate falls, all layers alike"),
    ("grad_norm", "Gradient norm of the weight", "gradient norm", True, "no layer a thousand times below another"),
    ("std", "Spread of the output", "standard deviation", True, "level, neither towards 0 nor ever larger"),
    ("mean", "Mean of the output", "mean", False, "level"),
    ("weight_norm", "Norm of the weight", "Euclidean norm", True, "a slow, smooth change"),
    ("dead", "Dead channels", "share of channels", False, "near 0"),
)
SHARE, POSITIVE = (0.0, 1.02), (0.0, None)  # limits of an axis
# Keys of "output" in a probe line: (key, title, unit, logarithmic, limits, healthy).
OUTPUT_CURVES = (
    ("dustbin", "Dustbin probability in probed steps", "mean probability", False, SHARE, "soon about .9, never 1"),
    ("detections", "Detections", "detections per image", False, POSITIVE, "some tens, not 0"),
    ("sharpness", "Sharpness of peaks", "peak / 5x5 sum", False, SHARE, "rises"),
    ("cell_pattern", "Pattern common to all cells", "share of variation", False, SHARE, "below .2 at the end"),
    ("input_sensitivity", "Sensitivity to the input", "share of variance", False, SHARE, "above .6 at the end"),
    ("border", "Density of detections at the border", "relative to the image", False, POSITIVE, "near 1, below 2"),
    ("logit_max", "Largest logit", "absolute value", True, None, "below 60"),
    ("cell_scale", "Range of logsumexp over cells", "nats", True, None, "below 30"),
    ("naive_exp_overflow", "Cells where a naive exp() overflows", "share of cells", False, SHARE, "0"),
)
MAX_LAYERS = 12  # curves that can be told apart


def curves(record: RunRecord, event: str, names: Mapping[str, str], first: int = 0) -> list[Curve]:
    """Return a curve per key of an event, named by `names`; `first` is the index of the first."""
    return [
        Curve(name, *record.curve(event, key), index=index) for index, (key, name) in enumerate(names.items(), first)
    ]


def learning(record: RunRecord, key: str, training: str = "training", validation: str = "validation") -> list[Curve]:
    return [*curves(record, "train", {key: training}), *curves(record, "validate", {key: validation}, 1)]


def optimisation_panels(record: RunRecord) -> list[Panel]:
    """Return learning rate, gradient norm and throughput."""
    clip = math.nan
    with contextlib.suppress(KeyError, ValueError):
        clip = float(record.config["train.clip_norm"])
    norms = {"grad_norm": "mean", "grad_norm_max": "largest since the last line"}
    wait = [value for value in record.curve("train", "data_wait")[1] if math.isfinite(value)]
    return [
        Panel("Learning rate", "rate", curves(record, "train", {"lr": ""}), limits=POSITIVE, healthy="ends near 0"),
        Panel(
            "Gradient norm, before clipping", "norm", curves(record, "train", norms), log=True,
            level=clip if clip > 0 else math.nan, note=f"Dotted: train.clip_norm = {clip:g}." if clip > 0 else "",
            healthy="steady, not rising; what is above the clip is cut",
        ),
        Panel(
            "Throughput", "images per second", curves(record, "train", {"img_per_s": ""}), limits=POSITIVE,
            note=f"{np.mean(wait):.0%} of the time was spent waiting for data." if wait else "", healthy="level",
        ),
    ]  # fmt: skip


def training_panels(record: RunRecord) -> list[Panel]:
    """Return the panels of training and validation, also those without a value."""
    best = [record.best[2]] if record.best else []
    expected = number(record.last("initial_loss").get("expected"))
    broken = [entry["step"] for entry in record.history.events("nonfinite")]
    # The looser distance first: published figures use it.
    scores = sorted(record.ap_keys, key=lambda found: (-float(found[2]), found[1]))
    precisions = {key: f"{variant}, {eps} px" for key, variant, eps in scores}
    errors = {f"{variant}/localisation@{eps}": f"{variant}, {eps} px" for _, variant, eps in scores}
    note = "Dotted: expected of an untrained network." if math.isfinite(expected) else ""
    note += " Dashed line: not finite." if broken else ""
    steps, jumps = record.curve("train", "loss_jump")
    jump = Curve("change between steps", steps, [abs(value) for value in jumps], index=1)
    loss = "loss of both parts" if record.joint else "detector loss, nats"
    shares = {"dustbin": "dustbin probability, mean", "recall": "recall of labelled cells"}
    largest = [*curves(record, "train", {"loss_max": "loss of a step"}), jump]
    panels = [
        Panel(
            "Loss", loss, learning(record, "loss"), log=True, level=expected, marks=broken, note=note.strip(),
            healthy="falls steeply, then slowly; training and validation stay together",
        ),
        Panel(
            "Average precision", "AP", curves(record, "validate", precisions), marks=best,
            note="Of validation scenes. Dashed line: best checkpoint." if best else "", healthy="rises",
        ),
        Panel("Localisation error", "pixels", curves(record, "validate", errors), marks=best, healthy="falls"),
        *optimisation_panels(record),
        Panel(
            "Dustbin and recall", "share", curves(record, "train", shares), limits=SHARE,
            note="Recall: the dustbin holds less than half.", healthy="dustbin near .9; recall rises",
        ),
        Panel("Largest loss and largest change", "nats", largest, log=True, healthy="falls; single peaks do no harm"),
    ]  # fmt: skip
    return [replace(panel, x_end=float(record.history.step)) for panel in panels]


def probe_panels(record: RunRecord) -> list[Panel]:
    return [
        Panel(title, unit, [Curve("", *record.curve("probe", "output", key))], log=log, limits=limits, healthy=healthy)
        for key, title, unit, log, limits, healthy in OUTPUT_CURVES
    ]


def layer_panels(record: RunRecord) -> list[Panel]:
    """Return what probes measure of layers: one curve each, of more than MAX_LAYERS evenly chosen ones."""
    found = [lookup(entry, "layers") for entry in record.history.events("probe")]
    names = list(dict.fromkeys(name for layers in found if isinstance(layers, Mapping) for name in layers))
    chosen = np.unique(np.linspace(0, len(names) - 1, min(MAX_LAYERS, len(names))).round().astype(int)).tolist()
    shown = [(index, names[place]) for index, place in enumerate(chosen)]
    return [
        Panel(
            title, unit, [Curve(name, *record.curve("probe", "layers", name, key), index) for index, name in shown],
            log, healthy=healthy,
        )
        for key, title, unit, log, healthy in LAYER_CURVES
    ]  # fmt: skip


def descriptor_panels(record: RunRecord) -> list[Panel]:
    """Return panels of descriptors, also those without a value."""
    best = [record.best[2]] if record.best else []
    names = ("training pairs", "held-out pairs")
    parts = {"detector_loss": "detector", "descriptor_loss": "descriptor"}
    held_out = {key: f"{name}, held-out pairs" for key, name in parts.items()}
    similarity = {"positive_similarity": "correspondences", "negative_similarity": "other pairs"}
    similarity |= {"hardest_negative": "most similar other", "collapse": "different images"}
    homographies = {f"pairs/correct@{eps}": f"within {eps} px" for eps in (1, 3, 5)} | {"pairs/auc@5": "AUC up to 5 px"}
    shares = {f"pairs/mma@{eps}": f"MMA@{eps}" for eps in (1, 3)}
    shares |= {f"pairs/repeatability@{eps}": f"repeatability at {eps} px" for eps in (1, 3)}
    loss = [*curves(record, "train", parts), *curves(record, "validate", held_out, len(parts))]
    distance = learning(record, "position_loss", *names)
    accuracy = learning(record, "matching_accuracy", *names)
    return [
        Panel(
            "Both parts of the loss", "loss", loss, log=True,
            note=f"The descriptor's counts {record.config.get('descriptor.weight', '1.0')} times.", healthy="all fall",
        ),
        Panel(
            "Distance of corresponding keypoints", "px", distance,
            note=f"Position loss, counts {record.config.get('position', '0.0')} times.", healthy="falls below a pixel",
        ),
        Panel("Similarity", "mean cosine", curves(record, "train", similarity), healthy="correspondences 1, others 0"),
        Panel(
            "Matching accuracy", "share of correspondences", accuracy, limits=SHARE,
            note="Nearest descriptor, within 8 px.", healthy="rises, both alike",
        ),
        Panel(
            "Homographies of generated pairs", "share of pairs", curves(record, "validate", homographies),
            limits=SHARE, marks=best, note="Of held-out photographs, RANSAC 3 px. Dashed line: best checkpoint.",
            healthy="rises, then levels off",
        ),
        Panel(
            "Matches and keypoints of generated pairs", "share", curves(record, "validate", shares),
            limits=SHARE, marks=best, note="Mutual nearest neighbours of the strongest keypoints.", healthy="rises",
        ),
    ]  # fmt: skip
