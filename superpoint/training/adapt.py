"""Stage adapt: photographs in, a detector trained on its own labels of them out, in one round or several.

Round n labels the photographs by homographic adaptation (labels<n>.h5) and trains on the labels (round<n>/, a run
folder as of train-magicpoint). rounds.md and rounds.json say how labels and network change from round to round.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from superpoint.budget import LABEL_SHARE, Budget
from superpoint.config import AdaptConfig
from superpoint.data.feature_file import FeatureFile
from superpoint.engine.run import WEIGHTS, RunFolder
from superpoint.errors import UserError
from superpoint.evaluation.tables import format_cell, make_table, publish
from superpoint.files import write_json
from superpoint.labelling import agreement
from superpoint.labelling.export import export_detections
from superpoint.models.weights import load_weights
from superpoint.training.chain import Conclude, begin, check_photographs, keep, run_training, write_settings
from superpoint.training.magicpoint import train_magicpoint

MIN_IMAGES = 2  # photographs: one is held out
COMPARED = 1000  # images, evenly chosen, whose labels are compared with those of the round before
MIN_SHARE = 0.5  # of the round before, median of the images; with fewer the labels are collapsing
PRECISION = ("photographs", "clean", "noisy")  # what a network is validated on
COLUMNS = (
    *("round", "images", "keypoints, median", "as before, within 1 px", "coverage", "border density"),
    *("fullest row of the cell", "AP on its labels", "AP shapes, clean", "AP shapes, noisy"),
)


def adapt(
    config: AdaptConfig, *, resume: bool = False, conclude: Conclude | None = None, budget: Budget | None = None
) -> int | None:
    """Run all rounds, which divide a `budget` evenly. Return the signal that stopped them, None if they are complete.

    Raises: UserError as `chain.begin` and `chain.check_photographs`, or for weights of another network.
    """
    folder, console = begin(config, resume=resume, remedy=_remedy), Console(stderr=True)
    images = check_photographs(config.images, MIN_IMAGES, config.training.model.channels)
    _check_architecture(config)
    write_settings(config)
    weights, rows = config.labelling.weights, []
    for number in range(1, config.rounds + 1):
        labels = folder / f"labels{number}.h5"
        console.rule(f"round {number} of {config.rounds}: labels of {weights}")
        labelling = replace(config.labelling, weights=weights, masks=config.masks)
        part = None if budget is None else budget.part(budget.left / (config.rounds + 1 - number))
        within = None if part is None else part.part(LABEL_SHARE * part.left)
        exported = export_detections(labelling, [str(images)], labels, root=str(images), resume=True, budget=within)
        if exported.signal is not None or exported.summary is None:
            return exported.signal
        row: dict[str, Any] = {"round": number, "labels": exported.summary.as_dict(), "agreement": None, "alarm": None}
        if rows:
            row["agreement"] = label_agreement(folder / f"labels{number - 1}.h5", labels)
            row["alarm"] = collapse(rows[-1]["labels"]["median"], exported.summary.median)
        if row["alarm"]:
            console.print(f"ALARM: {row['alarm']}", style="bold red", markup=False, soft_wrap=True)
        console.rule(f"round {number} of {config.rounds}: training")
        training = config.of_round(number, weights, str(labels))
        trained = run_training(train_magicpoint, training, conclude, part)
        if trained.signal is not None:
            return trained.signal
        weights = str(Path(training.run) / WEIGHTS)
        best = RunFolder(training.run).history().best
        precision = {name: best.get(f"{name}/ap@4") for name in PRECISION}
        rows.append(row | {"step": best["step"], "precision": precision})
        write_json(folder / "rounds.json", rows)
        alarms = [f"ALARM, round {each['round']}: {each['alarm']}" for each in rows if each["alarm"] is not None]
        publish(folder / "rounds.md", [_table(rows)], alarms)
    return None


def _remedy(key: str, old: Any, new: Any) -> str | None:
    """More rounds may be asked for."""
    if key == "rounds":
        return None if new >= old else "expected as many, or more"
    return keep(key, old, new)


def _check_architecture(config: AdaptConfig) -> None:
    """Refuse weights of another network before the labels are made."""
    weights, wanted = config.labelling.weights, config.training.model
    _, found, _ = load_weights(weights)
    if config.from_previous and found.get("descriptor_dim"):
        raise UserError(
            f"labelling.weights: {weights} has descriptors of {found['descriptor_dim']} dimensions, which this stage "
            "does not train; start from weights of train-magicpoint, or set from_previous=false"
        )
    # A start without the fine branch gets one, see `load_start`; one that has it shall keep it, at its width. Weights
    # for grey images serve any number of channels.
    extra = [*(["fine"] if found.get("fine") else []), *(["channels"] if found.get("channels", 1) > 1 else [])]
    for key in ("encoder", "head_channels", *extra):
        expected = getattr(wanted, key)
        if config.from_previous and found.get(key, expected) != expected:
            raise UserError(
                f"training.model.{key}: found {expected}, but {weights} has {found[key]}; set it alike, or "
                "from_previous=false"
            )


def label_agreement(before: str | Path, after: str | Path) -> float | None:
    """Compute the share of keypoints with one of the other feature file within 1 px of the image the network saw.

    Mean over up to COMPARED images that both files hold; None if there is none.
    """
    with FeatureFile(before) as old, FeatureFile(after) as new:
        names = [name for name in new.names() if name in old]
        shares = []
        for index in np.unique(np.linspace(0, len(names) - 1, min(COMPARED, len(names))).round().astype(int)):
            one, other = old.read(names[index]), new.read(names[index])
            shares.append(agreement(one.keypoints, other.keypoints, other.uncertainty or 1.0))
    return float(np.mean(shares)) if shares else None


def collapse(before: float, after: float) -> str | None:
    """Return a warning if the median image has so few keypoints that further rounds would lose them all."""
    if after >= MIN_SHARE * before:
        return None
    return (
        f"the median image has {after:g} keypoints, {before:g} in the round before: the labels collapse; lower "
        "labelling.decode.threshold, train each round longer, or stop at the round before"
    )


def _table(rows: list[dict[str, Any]]) -> Table:
    table = make_table("Rounds of labelling and training", [], COLUMNS)
    for row in rows:
        labels = row["labels"]
        cells = [str(row["round"]), str(labels["images"]), f"{labels['median']:.0f}"]
        cells += [format_cell(row["agreement"], ".0%"), format_cell(labels["coverage"], ".2f")]
        cells += [format_cell(labels["placement"][key], form) for key, form in (("border", ".2f"), ("fullest", ".3f"))]
        table.add_row(*cells, *(format_cell(row["precision"][name]) for name in PRECISION))
    return table
