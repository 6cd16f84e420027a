"""Stage overfit for a joint configuration: can network and losses learn one pair of views by heart?

    superpoint overfit --config superpoint/lite
    superpoint overfit --config superpoint/lite --image street.jpg descriptor.name=sampled_hinge
    superpoint overfit --config superpoint/vgg --scenes 4 weights=null

As `diagnostics.overfit.scenes`, on pairs: it passes as soon as in evaluation mode the largest of the 65 channels is the
label in every cell of both views, and every place finds its counterpart among all of the other view by its descriptor
(matching accuracy 1.0, both ways). For the dense hinge the places are the cells, see `correspondences.match_cells`.
Leaves a run folder with strip.png, strip.gif, matches.png and overfit.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from superpoint.config import ScheduleConfig, SuperPointConfig
from superpoint.data.labelled import LabelledImages
from superpoint.data.training_set import training_pairs
from superpoint.data.warped_pairs import SingleViews, WarpedPairs
from superpoint.diagnostics.finding import Finding, Status
from superpoint.diagnostics.overfit.correspondences import draw_places
from superpoint.diagnostics.overfit.learnt import explain_failure
from superpoint.diagnostics.overfit.pair_watch import MatchScore, PairWatch
from superpoint.diagnostics.overfit.samples import single_photograph
from superpoint.diagnostics.overfit.scenes import BATCH, EVERY, OverfitResult, free_folder, overfit_config, report_lines
from superpoint.diagnostics.overfit.strip import encode_png, heatmap_animation, heatmap_strip, moments
from superpoint.diagnostics.reading import read_run
from superpoint.engine import RunFolder, TrainResult, make_fabric
from superpoint.errors import UserError
from superpoint.files import write_atomically
from superpoint.geometry.cells import CELL
from superpoint.models import build_model
from superpoint.training.fit import fit
from superpoint.training.magicpoint import load_start
from superpoint.training.pair_validation import joint_objective
from superpoint.visualize import save_image

# The paper's lambda_d and the cells of its images. Of one pair of 64x64 (64 cells) 250 left 19 of 48 cells wrong after
# 150 steps, 25 none after 30, and 13, which is as much to 64 cells as 250 to 1200, none after 10.
PAPER_WEIGHT, PAPER_CELLS = 250.0, 1200
ALIKE = 0.9  # share of the similarity of positives that that of negatives has if all descriptors are alike


@dataclass(frozen=True)
class PairOverfitResult(OverfitResult):
    """`matching`: of the last look, None if the run broke down before there was any."""

    matching: MatchScore | None = None


def overfit_pairs(
    config: SuperPointConfig,
    *,
    out: str | Path | None = None,
    index: int | None = None,
    image: str | Path | None = None,
    labels: str | Path | None = None,
    images: int = 1,
    steps: int = 400,
    seconds: float = 180.0,
) -> PairOverfitResult:
    """Learn a few pairs by heart with the network, losses and optimiser of `config`, and say whether that worked.

    Args: those of `diagnostics.overfit.scenes.overfit`; `index` is the number of the first pair, `images` counts pairs.

    Raises: UserError for a file or pair that cannot be used, a folder that is not empty.
    """
    folder = free_folder() if out is None else Path(out)
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--out {folder}: found a folder that is not empty, expected a new one, as {free_folder()} is")
    if image is None and labels is not None:
        raise UserError(f"--labels {labels}: found no --image that they belong to")
    if image is not None and (index is not None or images != 1):
        raise UserError(f"--image {image}: found --index or --images too, expected a photograph alone")
    if image is not None:
        config = replace(config, data=replace(config.data, kind="synthetic", labels=None, images=None))
    schedule = config.schedule
    config = cast(SuperPointConfig, overfit_config(config, folder, index or 0, images, steps, seconds))
    config, pairs, about, prepare = _subject(config, folder, image, labels, index)
    model = build_model(config.model, config.seed, pretrained=config.weights is None)
    objective, console = joint_objective(config), Console()
    if config.weights is None:
        objective.initialise(model.detector)
    else:
        console.print(load_start(model, config.weights), soft_wrap=True, highlight=False, markup=False)
    fabric = make_fabric(config.train)
    if fabric.world_size > 1:
        raise UserError(f"overfit: found {fabric.world_size} processes, expected 1 (no torchrun)")
    watch = PairWatch(pairs, images, objective, every=EVERY)
    rate = f"{config.optimizer.name} at a constant rate of {config.optimizer.lr:g}"
    console.print(
        f"{about}: {int(watch.batch['matched'].sum())} places in both views; {objective.descriptor}; {rate}, "
        f"batch {config.train.batch_size}, no augmentation, no averaging of weights",
        soft_wrap=True, highlight=False, markup=False,
    )  # fmt: skip
    watch.start(model.to(fabric.device))
    result = None
    try:
        result = fit(config, fabric, model, objective, pairs, watch, prepare=prepare)
    except UserError:
        if not RunFolder(folder).history().nonfinite:
            raise  # a mistake of the user's, not what is examined here
    outcome = _judge(config, schedule, pairs, watch, result)
    _write(outcome, watch, about)
    for line in _lines(outcome):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    return outcome


def _subject(
    config: SuperPointConfig, folder: Path, image: str | Path | None, labels: str | Path | None, index: int | None
) -> tuple[SuperPointConfig, WarpedPairs, str, Callable[[], None] | None]:
    """The configuration that names the pairs, the pairs, what they are in words, what writes a photograph to disk."""
    if image is not None:
        made, subject = single_photograph(config, folder, image, labels)
        assert isinstance(subject.dataset, LabelledImages)
        config = cast(SuperPointConfig, made)
        pairs = WarpedPairs(subject.dataset.source, config.data, config.seed)
        return config, pairs, f"two views of {subject.about}", subject.keep
    if index is not None and config.data.kind != "synthetic":
        raise UserError(
            f"--index {index}: found data.kind={config.data.kind}, expected synthetic: it is the number of a scene"
        )
    pairs = training_pairs(config.data, config.seed)
    if index is not None and pairs.repeated[0] != index:
        raise UserError(
            f"--index {index}: pair {index} has no label in both views, the next that has is {pairs.repeated[0]}"
        )
    of = "scenes" if config.data.kind == "synthetic" else f"photographs of {config.data.labels}"
    numbers = ", ".join(map(str, pairs.repeated[:BATCH])) + (", ..." if len(pairs.repeated) > BATCH else "")
    return config, pairs, f"pair{'s' * (len(pairs.repeated) > 1)} {numbers} of {of}, seed {config.seed}", None


def _judge(
    config: SuperPointConfig,
    schedule: ScheduleConfig,
    pairs: WarpedPairs,
    watch: PairWatch,
    result: TrainResult | None,
) -> PairOverfitResult:
    """PASS or, with its causes, FAIL. `result` is None after NaN or infinity, `schedule` is that of the user."""
    folder = Path(config.run)
    history = RunFolder(folder).history()
    seconds = result.elapsed if result else max((float(e.get("elapsed", 0)) for e in history.entries), default=0.0)
    step = result.step if result else history.step
    looks = [int(entry["step"]) for entry in history.entries if entry["event"] == "validate"]
    if looks:
        watch.frames[-1] = replace(watch.frames[-1], step=looks[-1])
    score, matching = (watch.score, watch.matching) if result is not None else (None, None)
    loss = watch.figures["loss"] if score is not None else None
    passed = score is not None and matching is not None and score.wrong_count == 0 and matching.wrong == 0
    ended = PairOverfitResult(passed, step, seconds, loss, score, folder, matching=matching)
    if passed or (result is not None and result.interrupted):
        return replace(ended, signal=result.signal if result is not None else None)
    case = replace(read_run(folder).case, dataset=SingleViews(pairs), config=replace(config, schedule=schedule))
    findings = explain_failure(case, score)
    if score is not None and score.wrong_count == 0 and matching is not None:  # nothing to say about cells, then
        findings = [
            replace(each, evidence=f"{each.evidence.partition(';')[0]}; {matching.text}.")
            if each.check == "budget" else each
            for each in findings if each.check not in ("cells", "dustbin")
        ]  # fmt: skip
    if matching is not None and matching.wrong:
        findings.append(explain_matching(matching, watch.figures, config))
    return replace(ended, findings=sorted(findings, key=lambda each: each.status is not Status.FAIL))


def explain_matching(matching: MatchScore, figures: dict[str, float], config: SuperPointConfig) -> Finding:
    """Why places are not told apart, from what the objective says about the pairs."""
    positive, negative = figures["positive_similarity"], figures["negative_similarity"]
    seen = f"{matching.text}; similarity of the same place {positive:.2f}, of others {negative:.2f}."
    weight = config.descriptor.positive_weight
    fitting = PAPER_WEIGHT * (config.data.height // CELL) * (config.data.width // CELL) / PAPER_CELLS
    if config.descriptor.name == "dense_hinge" and weight > 1.5 * fitting:
        cause = (
            f"descriptor.positive_weight={weight:g} outweighs the others: a cell has three or four counterparts, "
            f"however few others there are; {PAPER_WEIGHT:g} is for the {PAPER_CELLS} cells of 240x320."
        )
        remedy = (
            f"Take descriptor.positive_weight={fitting:.0f} at this size, or larger views (data.height, data.width)."
        )
    elif negative > ALIKE * positive:
        cause = "All descriptors are alike: the loss has found, or never left, the answer that is the same everywhere."
        remedy = "Lower optimizer.lr, raise descriptor.weight; with hinges lower descriptor.positive_weight."
    else:
        cause = "Some places are not told apart: short descriptors, a loss that has settled, or places that look alike."
        remedy = "Raise model.descriptor_dim or --steps; look at matches.png: repeated texture cannot be told apart."
    return Finding("matching", Status.FAIL, seen, cause, remedy, {"asked": matching.asked, "wrong": matching.wrong})


def _lines(outcome: PairOverfitResult) -> list[str]:
    """What the command prints at the end."""
    pictures = f"matches: {outcome.folder / 'matches.png'}"
    lines = report_lines(outcome)
    if outcome.passed and outcome.score is not None and outcome.matching is not None:
        asked = f"{outcome.matching.asked} {outcome.matching.what}"
        both = f"all {outcome.score.cells} cells of both views right, all {asked} matched (both ways)"
        lines[0] = f"PASS: {both}, after {outcome.step} steps, {outcome.seconds:.1f} s"
    elif outcome.score is not None and outcome.score.wrong_count == 0:  # nothing wrong with the cells to report
        lines = [
            line if not line.startswith("left after") else f"left after {outcome.step} steps: {outcome.matching.text}"
            for line in lines
            if outcome.matching is not None
        ]
    return [*lines, pictures]


def _write(outcome: PairOverfitResult, watch: PairWatch, about: str) -> None:
    wrong = [int(frame.wrong.sum()) for frame in watch.frames]
    frames = [watch.frames[number] for number in moments([frame.step for frame in watch.frames], wrong)]
    positive = watch.positive.numpy()
    strip = encode_png(heatmap_strip(watch.image, watch.points, positive, frames, about))
    animation = heatmap_animation(watch.image, watch.points, positive, frames, about)
    write_atomically(outcome.folder / "strip.png", lambda file: file.write(strip))
    write_atomically(outcome.folder / "strip.gif", lambda file: file.write(animation))
    save_image(outcome.folder / "matches.png", place_picture(watch))
    score, matching = outcome.score, outcome.matching
    content = {
        "passed": outcome.passed,
        "about": about,
        "step": outcome.step,
        "seconds": outcome.seconds,
        "loss": outcome.loss,
        "cells": score.cells if score else None,
        "wrong": score.wrong_count if score else None,
        "matching": {"of": matching.what, "asked": matching.asked, "wrong": matching.wrong} if matching else None,
        "figures": watch.figures,
        "frames": [frame.step for frame in frames],
        "findings": [finding.as_dict() for finding in outcome.findings],
    }
    write_atomically(outcome.folder / "overfit.json", lambda file: file.write(json.dumps(content, indent=1).encode()))


def place_picture(watch: PairWatch) -> NDArray[np.uint8]:
    """The first pair: green lines join places that find each other, orange ones go to where a place was taken for."""
    assert watch.shown is not None
    views = [watch.batch[f"image_{name}"][0, 0].numpy() for name in ("a", "b")]
    points = [watch.batch[f"correspondences_{name}"][0].numpy() for name in ("a", "b")]
    scale = max(1, 512 // views[0].shape[1])
    return draw_places(views, points, watch.shown, scale)
