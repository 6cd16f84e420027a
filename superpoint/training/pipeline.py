"""Stage pipeline: the whole chain from nothing, as one recipe: shapes -> MagicPoint -> labels -> SuperPoint -> figures.

    superpoint pipeline --config pipeline/quick images=photos run=runs/quick-pipeline
    superpoint pipeline --config pipeline/quick images=photos run=runs/quick-pipeline --resume
    superpoint pipeline --config pipeline/quick run=runs/quick-pipeline --from superpoint

Each stage is the command of its name in a folder of its own, and ends by writing stage.json there: that is how a
finished stage is recognised. Killed at any instant, the same command with --resume goes on where it was. --from does a
stage and those after it anew; what they had made is moved to earlier-<n>, not deleted. At the end pipeline.md says what
came of it and where it lies. Its figures are on photographs that were held out; the same ones, as other pairs, chose
the checkpoint that is kept, so those of the network are a little flattered.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from rich.console import Console
from rich.table import Table

from superpoint.config import PipelineConfig
from superpoint.config.chains import STAGES
from superpoint.config.labelling import MAY_CHANGE
from superpoint.data.feature_file import FeatureFile
from superpoint.data.images import sample_photographs
from superpoint.data.sources.source import open_source
from superpoint.data.training_set import split_names
from superpoint.engine.run import WEIGHTS, RunFolder
from superpoint.errors import check_one_of
from superpoint.evaluation.evaluate_pairs import evaluate_pairs
from superpoint.evaluation.pair_report import summaries
from superpoint.files import make_folder, write_atomically, write_json, write_text
from superpoint.labelling.export import export_detections
from superpoint.training.chain import (
    Conclude,
    begin,
    check_photographs,
    format_cell,
    publish,
    run_training,
    write_settings,
)
from superpoint.training.magicpoint import train_magicpoint
from superpoint.training.pair_validation import too_few
from superpoint.training.superpoint import train_superpoint

MIN_IMAGES = 2  # photographs: one is held out
DONE = "stage.json"  # in the folder of a stage that is complete
LABELS = "labels.h5"
CHOSEN = "photographs.txt"  # those that `limit` leaves
HELD_OUT = "held_out.txt"  # photographs that nothing was trained on (they chose its best checkpoint), to evaluate on
OWNERS = {  # of the keys above the sections: the first stage that they decide about; None = none
    **{"run": None, "seed": "magicpoint", "model": "magicpoint", "images": "labels", "limit": "labels"},
    **{f"labels.{key}": None for key in MAY_CHANGE},
    "model.descriptor_dim": "superpoint",
}
FIGURES = ("ransac_1", "ransac_3", "ransac_5", "magsac_1", "magsac_3", "magsac_5", "mma_3", "repeatability_3")


class Outcome(NamedTuple):
    """What a stage has to say, or the signal that stopped it."""

    figures: dict[str, Any]
    signal: int | None = None


def pipeline(
    config: PipelineConfig, *, resume: bool = False, first: str | None = None, conclude: Conclude | None = None
) -> int | None:
    """Do all stages that are not done. Return the signal that stopped them, None if they are complete.

    Args:
        resume: go on with the run folder, or start it.
        first: do this stage and those after it anew; implies `resume`.
        conclude: called with the configuration and the result of each training that is complete.

    Raises: UserError as `chain.begin` and `chain.check_photographs`, or for an unknown stage.
    """
    if first is not None:
        check_one_of("--from", first, list(STAGES))
    folder = begin(config, resume=resume or first is not None, remedy=partial(_remedy, config, first), own=("images",))
    console = Console(stderr=True)
    images = check_photographs(config.images, MIN_IMAGES) if config.images is not None else folder / "images"
    make_folder(folder)
    if first is not None:
        for moved in set_aside(folder, first):
            console.print(f"kept as {moved}", soft_wrap=True)
    write_settings(config)
    if config.images is None:
        write_samples(images)
    for number, stage in enumerate(STAGES, 1):
        done = folder / stage / DONE
        console.rule(f"stage {number} of {len(STAGES)}: {stage}" + (" (done before)" if done.exists() else ""))
        if done.exists():
            continue
        began = time.monotonic()
        outcome = DO[stage](config, images, conclude)
        if outcome.signal is not None:
            return outcome.signal
        content = {"stage": stage, "seconds": round(time.monotonic() - began, 1), **outcome.figures}
        write_json(done, content)
    _write_summary(folder, images)
    return None


def _remedy(config: PipelineConfig, first: str | None, key: str, _old: Any, _new: Any) -> str | None:
    """A setting may change of a stage that has not begun, or is done anew."""
    owner = owner_of(key)
    anew = STAGES[STAGES.index(first) :] if first is not None else ()
    begun = [each for each in STAGES[STAGES.index(owner) :] if (Path(config.run) / each).exists()] if owner else []
    if all(stage in anew for stage in begun):
        return None
    return f"set it back, take another run=..., or do that again by --from {owner}"


def owner_of(key: str) -> str | None:
    """Return the first stage that a key of the configuration decides about, None if it decides about no result."""
    for name in (key, key.partition(".")[0]):
        if name in OWNERS:
            return OWNERS[name]
    return key.partition(".")[0]


def set_aside(folder: Path, first: str) -> list[Path]:
    """Move the folders of `first` and the stages after it out of the way; the last one first, so that a kill in
    between leaves a chain without gaps. Returns where they are now.
    """
    made = [folder / stage for stage in STAGES[STAGES.index(first) :] if (folder / stage).exists()]
    if not made:
        return []
    number = 1
    while (folder / f"earlier-{number}").exists():
        number += 1
    target = make_folder(folder / f"earlier-{number}")
    for path in reversed(made):
        os.replace(path, target / path.name)
    return [target / path.name for path in made]


def write_samples(folder: Path) -> None:
    """Write the photographs of scikit-image as PNG files, those that are not there yet."""
    make_folder(folder)
    for name, rgb in sample_photographs():
        path = folder / f"{name}.png"
        if not path.exists():
            data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
            write_atomically(path, lambda file, data=data: file.write(data))


def _magicpoint(config: PipelineConfig, images: Path, conclude: Conclude | None) -> Outcome:
    training = config.of_magicpoint()
    result = run_training(train_magicpoint, training, conclude)
    best = RunFolder(training.run).history().best
    precision = {f"ap_{name}": best.get(f"{name}/ap@4") for name in ("clean", "noisy")}
    return Outcome({"steps": result.step, **precision}, result.signal)


def _labels(config: PipelineConfig, images: Path, _: Conclude | None) -> Outcome:
    folder = make_folder(Path(config.run) / "labels")
    export = replace(config.labels, weights=str(Path(config.of_magicpoint().run) / WEIGHTS))
    inputs = [str(images)]
    if config.limit:
        source = open_source(inputs)
        items = list(source.read(0, max(len(source), 1)))
        count = min(config.limit, len(items))
        _list_photographs(folder / CHOSEN, images, [items[place * len(items) // count].name for place in range(count)])
        inputs = [str(folder / CHOSEN)]
    result = export_detections(export, inputs, folder / LABELS, root=images, resume=True)
    if result.signal is not None or result.summary is None:
        return Outcome({}, result.signal)
    return Outcome({"images": result.summary.images, "points": result.summary.median})


def _superpoint(config: PipelineConfig, images: Path, conclude: Conclude | None) -> Outcome:
    folder = Path(config.run)
    weights, labels = folder / "magicpoint" / WEIGHTS, folder / "labels" / LABELS
    training = config.of_superpoint(str(weights), str(labels), str(images))
    result = run_training(train_superpoint, training, conclude)
    best = RunFolder(training.run).history().best
    return Outcome({"steps": result.step, "auc@5": best.get("pairs/auc@5")}, result.signal)


def _evaluation(config: PipelineConfig, images: Path, _: Conclude | None) -> Outcome:
    """On pairs made of the photographs that the joint training held out; other pairs of them chose its best step."""
    folder = make_folder(Path(config.run) / "evaluation")
    with FeatureFile(Path(config.run) / "labels" / LABELS) as labels:
        held_out = split_names(labels.names(), config.superpoint.data.holdout)[1]
    listed = folder / HELD_OUT
    _list_photographs(listed, images, held_out)
    records = evaluate_pairs(
        config.evaluation, [str(Path(config.run) / "superpoint"), "sift"], images=listed, out=folder, gallery=2
    )
    rows = {}
    for entry in summaries(records, config.evaluation.seed):
        if entry["kind"] == "all":
            name = "sift" if entry["method"] == "sift" else "superpoint"
            rows[name] = {key: entry["figures"][key]["value"] for key in FIGURES} | {"pairs": entry["pairs"]}
    used = min(config.evaluation.limit or len(held_out), len(held_out))
    return Outcome({"photographs": used, "held_out": len(held_out), "methods": rows})


def _list_photographs(path: Path, images: Path, names: Sequence[str]) -> None:
    text = "".join(f"{os.path.abspath(images / name)}\n" for name in names)
    write_text(path, text)


DO: dict[str, Callable[[PipelineConfig, Path, Conclude | None], Outcome]] = {
    "magicpoint": _magicpoint,
    "labels": _labels,
    "superpoint": _superpoint,
    "evaluation": _evaluation,
}


def _write_summary(folder: Path, images: Path) -> None:
    """Print what came of it, and write it to pipeline.md."""
    done = {stage: json.loads((folder / stage / DONE).read_text(encoding="utf-8")) for stage in STAGES}
    few = too_few(done["evaluation"]["photographs"], "superpoint.data.holdout")
    lines = [
        *([few] if few else []),
        f"photographs: {images}",
        f"weights: {folder / 'superpoint' / WEIGHTS}",
        f"labels: {folder / 'labels' / LABELS}",
        f"reports: {folder / 'magicpoint/report.html'}, {folder / 'superpoint/report.html'}",
        f"pairs: {folder / 'evaluation/pairs.md'}",
        f"try it: superpoint evaluate pairs --extractors {folder / 'superpoint'},sift",
    ]
    publish(folder / "pipeline.md", [stage_table(done, folder), figure_table(done["evaluation"])], lines)


def stage_table(done: dict[str, dict[str, Any]], folder: Path) -> Table:
    """Return one row per stage: how long its last session took, what it reached, where it lies."""
    table = Table(title="The chain, stage by stage")
    for column in ("stage", "minutes", "result", "folder"):
        table.add_column(column, justify="right" if column == "minutes" else "left")
    one, two, three, four = (done[stage] for stage in STAGES)
    precision = [format_cell(one[key]) for key in ("ap_clean", "ap_noisy")]
    results = [
        f"{one['steps']:,} steps; AP at 4 px {precision[0]} clean, {precision[1]} noisy shapes",
        f"{two['images']} photographs, {two['points']:.0f} keypoints each (median)",
        f"{three['steps']:,} steps; AUC@5 px of homographies {format_cell(three['auc@5'])}",
        f"{four['photographs']} of the {four['held_out']} photographs that were held out",
    ]
    for stage, result in zip(STAGES, results, strict=True):
        table.add_row(stage, f"{done[stage]['seconds'] / 60:.1f}", result, str(folder / stage))
    return table


def figure_table(evaluation: dict[str, Any]) -> Table:
    """Return the network's and SIFT's figures on the same pairs; pairs.md has more."""
    methods = evaluation["methods"]
    pairs = next(iter(methods.values()))["pairs"]
    table = Table(title=f"{pairs} generated pairs: share of homographies within 1, 3, 5 px; matches within 3 px")
    table.add_column("features")
    for column in ("RANSAC @1", "@3", "@5", "MAGSAC @1", "@3", "@5", "MMA @3", "repeatability @3"):
        table.add_column(column, justify="right")
    for name, found in methods.items():
        table.add_row(name, *(format_cell(found[key]) for key in FIGURES))
    return table
