"""Stage pipeline: the whole chain from nothing, as one recipe: shapes -> MagicPoint -> labels -> SuperPoint -> figures.

Each stage works in a folder of its name and ends by writing stage.json there, by which a finished stage is recognised.
--from does a stage and those after it anew; what they had made is moved to earlier-<n>, not deleted. pipeline.md says
what came of it. Its figures are on held-out photographs, other pairs of which chose the checkpoint, so they are a
little too good.
"""

import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from superpoint.budget import LABEL_SHARE, Budget, Phase, print_plan
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
from superpoint.evaluation.pair_report import NAMES, summaries
from superpoint.evaluation.tables import format_cell, make_table, publish
from superpoint.files import make_folder, read_text, write_json, write_text
from superpoint.labelling.export import export_detections
from superpoint.training.chain import Conclude, begin, check_photographs, run_training, write_settings
from superpoint.training.magicpoint import train_magicpoint
from superpoint.training.pair_validation import too_few
from superpoint.training.superpoint import train_superpoint
from superpoint.visualize import save_image

MIN_IMAGES = 2  # photographs: one is held out
EVALUATION_SHARE = 0.1  # of a budget
DONE = "stage.json"  # in the folder of a stage that is complete
LABELS = "labels.h5"
CHOSEN = "photographs.txt"  # those that `limit` leaves
HELD_OUT = "held_out.txt"  # photographs that nothing was trained on (they chose its best checkpoint), to evaluate on
OWNERS = {  # of the keys above the sections: the first stage that they decide about; None = none
    **{"run": None, "seed": "magicpoint", "model": "magicpoint"},
    **dict.fromkeys(("images", "masks", "limit"), "labels"),
    **{f"labels.{key}": None for key in MAY_CHANGE},
    "model.descriptor_dim": "superpoint",
}
FIGURES = {  # of `pair_report.summaries` -> column
    **{f"{name}_{eps}": f"{title} @1" if eps == 1 else f"@{eps}" for name, title in NAMES.items() for eps in (1, 3, 5)},
    **{"mma_3": "MMA @3", "repeatability_3": "repeatability @3"},
}


class Outcome(NamedTuple):
    """The result of a stage, in words, or the signal that stopped it."""

    result: str
    signal: int | None = None
    figures: dict[str, Any] | None = None  # more for stage.json


def pipeline(
    config: PipelineConfig,
    *,
    resume: bool = False,
    first: str | None = None,
    conclude: Conclude | None = None,
    budget: Budget | None = None,
) -> int | None:
    """Do all stages that are not done. Return the signal that stopped them, None if they are complete.

    Args:
        resume: go on with the run folder, or start it.
        first: do this stage and those after it anew; implies `resume`.
        conclude: called with the configuration and the result of each training that is complete.
        budget: for all stages that are still to be done, see `shares`.

    Raises: UserError as `chain.begin` and `chain.check_photographs`, or for an unknown stage.
    """
    if first is not None:
        check_one_of("--from", first, list(STAGES))
    folder = begin(config, resume=resume or first is not None, remedy=partial(_remedy, config, first), own=("images",))
    console = Console(stderr=True)
    images, channels = folder / "images", config.model.channels
    if config.images is not None or channels not in (1, 3):  # the photographs of scikit-image are no other
        images = check_photographs(config.images, MIN_IMAGES, channels)
    make_folder(folder)
    if first is not None:
        for moved in set_aside(folder, first):
            console.print(f"kept as {moved}", soft_wrap=True)
    write_settings(config)
    if config.images is None:
        write_samples(images)
    left = {stage: share for stage, share in shares(config).items() if not (folder / stage / DONE).exists()}
    total = None if budget is None else budget.left / sum(left.values(), 1e-9)
    print_plan([Phase(each, total and total * share, folder / each) for each, share in left.items()], budget)
    for number, stage in enumerate(STAGES, 1):
        done = folder / stage / DONE
        console.rule(f"stage {number} of {len(STAGES)}: {stage}" + (" (done before)" if done.exists() else ""))
        if done.exists():
            continue
        began = time.monotonic()
        part = None if budget is None else budget.part(budget.left * left[stage] / sum(left.values()))
        outcome = DO[stage](config, images, conclude, part)
        left.pop(stage)
        if outcome.signal is not None:
            return outcome.signal
        seconds = round(time.monotonic() - began, 1)
        write_json(done, {"stage": stage, "seconds": seconds, "result": outcome.result, **(outcome.figures or {})})
    _write_summary(folder, images)
    return None


def shares(config: PipelineConfig) -> dict[str, float]:
    """Return the share of a budget that each stage has; the two trainings divide theirs as in the recipe."""
    minutes = [each.train.minutes or 1.0 for each in (config.magicpoint, config.superpoint)]
    training = 1 - LABEL_SHARE - EVALUATION_SHARE
    found = [minutes[0] / sum(minutes) * training, LABEL_SHARE, minutes[1] / sum(minutes) * training, EVALUATION_SHARE]
    return dict(zip(STAGES, found, strict=True))


def _remedy(config: PipelineConfig, first: str | None, key: str, _old: Any, _new: Any) -> str | None:
    """A `Remedy`: settings of a stage that has not begun, or is done anew, may change."""
    owner = owner_of(key)
    anew = STAGES[STAGES.index(first) :] if first is not None else ()
    begun = [each for each in STAGES[STAGES.index(owner) :] if (Path(config.run) / each).exists()] if owner else []
    if all(stage in anew for stage in begun):
        return None
    return f"set it back, take another run=..., or do that again by --from {owner}"


def owner_of(key: str) -> str | None:
    """Return the first stage that a key of the configuration decides about, None if there is none."""
    for name in (key, key.partition(".")[0]):
        if name in OWNERS:
            return OWNERS[name]
    return key.partition(".")[0]


def set_aside(folder: Path, first: str) -> list[Path]:
    """Move the folders of `first` and the stages after it to earlier-<n>, the last one first. Return where they are."""
    made = [folder / stage for stage in STAGES[STAGES.index(first) :] if (folder / stage).exists()]
    if not made:
        return []
    number = next(each for each in itertools.count(1) if not (folder / f"earlier-{each}").exists())
    target = make_folder(folder / f"earlier-{number}")
    return [path.rename(target / path.name) for path in reversed(made)]


def write_samples(folder: Path) -> None:
    """Write the photographs of scikit-image that are not there yet, as PNG files."""
    for name, rgb in sample_photographs():
        if not (folder / f"{name}.png").exists():
            save_image(folder / f"{name}.png", rgb)


def _magicpoint(config: PipelineConfig, images: Path, conclude: Conclude | None, budget: Budget | None) -> Outcome:
    training = config.of_magicpoint()
    result = run_training(train_magicpoint, training, conclude, budget)
    best = RunFolder(training.run).history().best
    clean, noisy = (format_cell(best.get(f"{name}/ap@4")) for name in ("clean", "noisy"))
    return Outcome(f"{result.step:,} steps; AP at 4 px {clean} clean, {noisy} noisy shapes", result.signal)


def _labels(config: PipelineConfig, images: Path, _: Conclude | None, budget: Budget | None) -> Outcome:
    folder = make_folder(Path(config.run) / "labels")
    labelling = replace(config.labels, weights=str(Path(config.of_magicpoint().run) / WEIGHTS), masks=config.masks)
    inputs = images
    if config.limit:
        source = open_source([str(images)], channels=config.model.channels)
        names = [item.name for item in source.read(0, len(source))]
        count = min(config.limit, len(names))
        inputs = folder / CHOSEN
        _list_photographs(inputs, images, [names[index * len(names) // count] for index in range(count)])
    result = export_detections(labelling, [str(inputs)], folder / LABELS, root=images, resume=True, budget=budget)
    if result.signal is not None or result.summary is None:
        return Outcome("", result.signal)
    return Outcome(f"{result.summary.images} photographs, {result.summary.median:.0f} keypoints each (median)")


def _superpoint(config: PipelineConfig, images: Path, conclude: Conclude | None, budget: Budget | None) -> Outcome:
    folder = Path(config.run)
    weights, labels = folder / "magicpoint" / WEIGHTS, folder / "labels" / LABELS
    training = config.of_superpoint(str(weights), str(labels), str(images))
    result = run_training(train_superpoint, training, conclude, budget)
    area = format_cell(RunFolder(training.run).history().best.get("pairs/auc@5"))
    return Outcome(f"{result.step:,} steps; AUC@5 px of homographies {area}", result.signal)


def _evaluation(config: PipelineConfig, images: Path, *_: object) -> Outcome:
    """On pairs made of the photographs that the joint training held out; other pairs of them chose its best step."""
    folder = make_folder(Path(config.run) / "evaluation")
    with FeatureFile(Path(config.run) / "labels" / LABELS) as labels:
        held_out = split_names(labels.names(), config.superpoint.data.holdout)[1]
    listed = folder / HELD_OUT
    _list_photographs(listed, images, held_out)
    names, options = [str(Path(config.run) / "superpoint"), "sift"], {}
    if config.masks is not None:
        options = {"masks": config.masks, "root": images}
    records = evaluate_pairs(config.evaluation, names, images=listed, out=folder, **options)
    rows = {}
    for entry in summaries(records, config.evaluation.seed):
        if entry["kind"] == "all":
            name = "sift" if entry["extractor"] == "sift" else "superpoint"
            rows[name] = {key: entry["figures"][key]["value"] for key in FIGURES} | {"pairs": entry["pairs"]}
    used = min(config.evaluation.limit or len(held_out), len(held_out))
    text = f"{used} of the {len(held_out)} photographs that were held out"
    return Outcome(text, figures={"photographs": used, "extractors": rows})


def _list_photographs(path: Path, images: Path, names: Sequence[str]) -> None:
    write_text(path, "".join(f"{os.path.abspath(images / name)}\n" for name in names))


DO: dict[str, Callable[[PipelineConfig, Path, Conclude | None, Budget | None], Outcome]] = {
    "magicpoint": _magicpoint,
    "labels": _labels,
    "superpoint": _superpoint,
    "evaluation": _evaluation,
}


def _write_summary(folder: Path, images: Path) -> None:
    """Print what came of it, and write it to pipeline.md."""
    done = {stage: json.loads(read_text(folder / stage / DONE)) for stage in STAGES}
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
    """Return one row per stage: its result, its folder, the minutes of its last session."""
    table = make_table("The chain, stage by stage", ["stage", "result", "folder"], ["minutes"])
    for stage, found in done.items():
        table.add_row(stage, found["result"], str(folder / stage), f"{found['seconds'] / 60:.1f}")
    return table


def figure_table(evaluation: dict[str, Any]) -> Table:
    """Return the figures of the network and of SIFT on the same pairs."""
    extractors = evaluation["extractors"]
    pairs = next(iter(extractors.values()))["pairs"]
    title = f"{pairs} generated pairs: share of homographies within 1, 3, 5 px; matches within 3 px"
    table = make_table(title, ["features"], list(FIGURES.values()))
    for name, found in extractors.items():
        table.add_row(name, *(format_cell(found.get(key)) for key in FIGURES))
    return table
