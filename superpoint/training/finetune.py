"""Stage finetune: a SuperPoint and a folder of photographs in, a SuperPoint that has learnt from them out.

Labels the photographs by homographic adaptation (labels/, unless a feature file is given), trains on them (training/, a
run folder as of train-superpoint), and measures before and after, beside SIFT, on generated pairs of held-out
photographs: finetune.md, finetune.json, matches_before.png, matches_after.png; the command adds report.html, a page of
them. A paired test over the photographs says which figures have changed. Other pairs of the same photographs chose the
checkpoint, so "after" is a little too good.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from superpoint.budget import LABEL_SHARE, Budget, Phase, print_plan
from superpoint.config import TEST_SEED, FinetuneConfig, ModelConfig
from superpoint.config.model import FINE
from superpoint.data.feature_file import FeatureFile
from superpoint.data.sources.photographs import AlignedFiles
from superpoint.data.sources.source import open_source
from superpoint.data.training_set import demand_labels, held_out_source
from superpoint.engine.run import WEIGHTS
from superpoint.errors import UserError
from superpoint.evaluation.pair_metrics import PairRecord
from superpoint.evaluation.pairs import bootstrap_interval, paired_test
from superpoint.evaluation.tables import publish
from superpoint.files import make_folder, read_text, write_json
from superpoint.labelling.export import export_detections
from superpoint.models import load_network
from superpoint.models.weights import load_weights
from superpoint.training.chain import Conclude, begin, check_photographs, keep, run_training, write_settings
from superpoint.training.pair_validation import pair_metrics, per_photograph, too_few, validation_pairs
from superpoint.training.superpoint import COLUMNS, measure_generated, pair_table, train_superpoint

BEFORE, RESULT, LABELS = "before.json", "finetune.json", "labels.h5"
MIN_IMAGES = 8  # photographs
DETECTION = ("repeatability@1", "repeatability@3", "localisation")  # what weights without descriptors have too
COMPARED = tuple(column for column in COLUMNS if column != "matches")  # more of these is neither better nor worse
PerPhotograph = Mapping[str, Sequence[float | None]]  # column -> values; None: undefined
MIN_MINUTES = 4  # of a budget; with less, labels and two comparisons leave nothing for the training
LEVEL = 0.05  # chance that a network which is as good gets another verdict


def finetune(
    config: FinetuneConfig, *, resume: bool = False, conclude: Conclude | None = None, budget: Budget | None = None
) -> int | None:
    """Label, train, compare, within a `budget`. Return the signal that stopped it, None if it is complete.

    Raises: UserError as `chain.begin` and `chain.check_photographs`, or for unusable weights or labels, or a new run
        with less than MIN_MINUTES.
    """
    if budget is not None and budget.minutes < MIN_MINUTES and not resume:
        raise UserError(f"--minutes: found {budget.minutes:g}, expected at least {MIN_MINUTES} for labels and training")
    folder, console = begin(config, resume=resume, remedy=keep), Console(stderr=True)
    weights = config.weights
    model, described = start_model(weights)
    images = check_photographs(config.images, MIN_IMAGES, model.channels)
    if config.labels is not None:
        check_labels(Path(config.labels), images)
    write_settings(config)
    labels = Path(config.labels) if config.labels is not None else folder / "labels" / LABELS
    _print_plan(config, len(open_source([str(images)], channels=model.channels)), labels, budget)
    if config.labels is None:
        console.rule(f"labels of {weights}")
        make_folder(labels.parent)
        labelling = replace(config.labelling, weights=weights, masks=config.masks)
        within = None if budget is None else budget.part(LABEL_SHARE * budget.left)
        exported = export_detections(labelling, [str(images)], labels, root=images, resume=True, budget=within)
        if exported.signal is not None:
            return exported.signal
        check_labels(labels, images)
    training = config.of_training(model, weights, str(labels), str(images))
    demand_labels(training.data)
    pairs = validation_pairs(training, training.validation.final_pairs, TEST_SEED)
    if not (folder / BEFORE).exists():
        console.rule("before")
        began, picture = time.monotonic(), folder / "matches_before.png" if described else None
        found = measure_generated(training, pairs, weights, picture, f"Before: {weights}")
        figures = _figures(found, COLUMNS if described else DETECTION)
        write_json(folder / BEFORE, figures | {"seconds": time.monotonic() - began})
    before = json.loads(read_text(folder / BEFORE))
    console.rule("training")
    # Afterwards the network is measured again, and SIFT, which is quicker.
    within = None if budget is None else budget.part(budget.left - 2 * before["seconds"])
    trained = run_training(train_superpoint, training, conclude, within)
    if trained.signal is not None:
        return trained.signal
    if not (folder / RESULT).exists():
        console.rule("after")
        found = measure_generated(training, pairs, training.run, folder / "matches_after.png", f"After: {folder}")
        after = _figures(found, COLUMNS)
        sift = _figures(measure_generated(training, pairs), COLUMNS)
        rows = {"before": before["mean"], "after": after["mean"], "sift": sift["mean"]}
        change = compare(before["photographs"], after["photographs"])
        held_out = len(held_out_source(training.data, training.model.channels))
        write_json(folder / RESULT, {**rows, "change": change, "held_out": held_out})
    result = json.loads(read_text(folder / RESULT))
    lines = [
        verdict(result),
        f"weights: {Path(training.run) / WEIGHTS}",
        f"report of the training: {Path(training.run) / 'report.html'}",
        f"tables: {folder}",
    ]
    rows = {name: result[name] for name in ("before", "after", "sift")}
    publish(folder / "finetune.md", [pair_table(training, rows)], lines)
    return None


def _print_plan(config: FinetuneConfig, photographs: int, labels: Path, budget: Budget | None) -> None:
    """Print the phases; what the labels leave of a budget is divided once the comparison has been timed."""
    share = LABEL_SHARE if config.labels is None else 0.0
    left, minutes = 0.0 if budget is None else budget.left, config.training.train.minutes
    phases = [Phase(f"label {photographs} photographs", share * left or None, labels)] if share else []
    train = f"train for {minutes:g} min" if budget is None and minutes else "train"
    phases.append(Phase(f"{train}, compare before and after", (1 - share) * left or None, config.run))
    print_plan(phases, budget)


def start_model(weights: str) -> tuple[ModelConfig, bool]:
    """Return the network of `weights`, with descriptors, and whether they have these already.

    A MagicPoint gets a descriptor head (64 dimensions if it is small, else 256), and a fine branch where its encoder
    can have one: without it the sharpening of labels is mostly lost.
    """
    load_network(weights)  # whether they fit a network known here
    found = load_weights(weights)[1]
    model = ModelConfig(**{key: value for key, value in found.items() if key in {f.name for f in fields(ModelConfig)}})
    model = replace(model, encoder_weights=None)  # `weights` replace them, and their file may be gone
    if model.descriptor_dim:
        return model, True
    fine = model.fine or FINE.get(model.encoder, 0)
    return replace(model, fine=fine, descriptor_dim=64 if model.head_channels <= 128 else 256), False


def check_labels(path: Path, images: Path) -> None:
    """Raise UserError unless the feature file labels at least MIN_IMAGES images below `images`."""
    with FeatureFile(path) as labels:
        named = labels.names()
        files = AlignedFiles(images)
        usable = sum(files.find(name) is not None for name in named)
        reasons = labels.skipped()
    if usable < MIN_IMAGES:
        first = next((f"; {name}: {reason}" for name, reason in reasons.items()), "")
        raise UserError(
            f"{path}: found labels of {usable} photographs in {images}, expected at least {MIN_IMAGES} "
            f"({len(reasons)} could not be read{first})"
        )


def _figures(records: Sequence[PairRecord], columns: Iterable[str]) -> dict[str, Any]:
    means = pair_metrics(records)
    return {
        "mean": {key: means.get(f"pairs/{key}") for key in columns},
        "photographs": per_photograph(records, columns),
    }


def compare(before: PerPhotograph, after: PerPhotograph) -> dict[str, Any]:
    """Compare the figures per photograph (`per_photograph`) by `paired_test`, those that both have.

    Returns: column -> {"difference": mean of after - before, and "interval", `bootstrap_interval`, None if undefined;
        "p"; "verdict": "better", "worse" or "no measurable difference"}.
    """
    columns = [column for column in COMPARED if column in before]
    apart = np.stack([np.array(after[key], float) - np.array(before[key], float) for key in columns], axis=1)
    found: dict[str, Any] = {}
    for index, (column, p) in enumerate(zip(columns, paired_test(apart), strict=True)):
        known = apart[:, index][~np.isnan(apart[:, index])]
        difference = float(known.mean()) if known.size else None
        better = difference is not None and (difference > 0) != (column == "localisation")
        verdict = ("better" if better else "worse") if p <= LEVEL else "no measurable difference"
        interval = bootstrap_interval(known) if known.size else None
        found[column] = {"difference": difference, "interval": interval, "p": float(p), "verdict": verdict}
    return found


def verdict(result: Mapping[str, Any]) -> str:
    """Return in words what has changed; on fewer than FEW held-out photographs nothing is called better."""
    few = too_few(result["held_out"], "training.data.holdout")
    before, after = result["before"].get("auc@5"), result["after"]["auc@5"]
    change = f"AUC@5 of homographies on held-out photographs: {before or 0:.3f} before, {after:.3f} after"
    if before is None:
        change = f"The weights had no descriptors before; now AUC@5 of homographies is {after:.3f}"
    verdicts = {key: each["verdict"] for key, each in result["change"].items()}
    better, worse = ([key for key, each in verdicts.items() if each == kind] for kind in ("better", "worse"))
    if not better and not worse:
        advice = few or "Train longer (--minutes), or on more photographs."
        return f"{change}. No measurable difference in any column (paired test, level {LEVEL:g}). {advice}"
    told = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in (("better", better), ("worse", worse)) if keys)
    advice = "Better: take the new weights."
    if worse:
        advice = "WORSE: keep the weights you had; try a lower training.optimizer.lr, or more photographs."
    if worse and better:
        advice = "Some columns gain and others lose: choose by what you need."
    return f"{change}. Measurably {told}; no measurable difference elsewhere. {few or advice}"
