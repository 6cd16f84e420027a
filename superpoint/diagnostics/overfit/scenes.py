"""Stage overfit: can this network, loss and optimiser learn one image by heart? If not, nothing else will work.

    superpoint overfit
    superpoint overfit --index 7 optimizer.lr=0.003
    superpoint overfit --image street.jpg --labels street.csv
    superpoint overfit --scenes 8 data.kind=labelled data.labels=labels.h5 data.images=photos

The training stage itself, on the same few samples again and again: without augmentation, averaging of weights, warm-up
or decay of the rate. It passes as soon as in evaluation mode the largest of the 65 channels is the label in every cell.
Leaves a run folder (for `superpoint doctor` and the like) with strip.png, strip.gif and overfit.json; a photograph and
its points are kept in it as training data of the kind `labelled`, see `DataConfig`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from superpoint.config import MagicPointConfig, ScheduleConfig
from superpoint.data.samples import PointSamples
from superpoint.diagnostics.finding import Finding
from superpoint.diagnostics.overfit.cell_watch import CellWatch
from superpoint.diagnostics.overfit.learnt import CellScore, explain_failure
from superpoint.diagnostics.overfit.samples import configured_samples, single_photograph
from superpoint.diagnostics.overfit.strip import Frame, encode_png, heatmap_animation, heatmap_strip, moments
from superpoint.diagnostics.reading import read_run
from superpoint.engine import RunFolder, TrainResult, make_fabric
from superpoint.errors import UserError
from superpoint.files import write_atomically
from superpoint.training.detector_validation import detector_objective
from superpoint.training.magicpoint import fit_detector, initial_model

BATCH = 8  # samples a step, at most
EVERY = 5  # steps between looks at the cells
REPLACED = {  # keys that have no say here, and the option that has
    "run": "--out",
    "data.overfit": "--scenes",
    "data.overfit_first": "--index",
    "train.steps": "--steps",
    "train.minutes": "--minutes",
    **dict.fromkeys(["schedule", "train.batch_size", "train.accumulate", "train.ema", "train.validate_every"], ""),
    **dict.fromkeys(["data.workers", "data.curriculum", "data.photometric", "data.homography", "train.log_every"], ""),
}


@dataclass(frozen=True)
class OverfitResult:
    """How it ended. `score` and `loss` (evaluation mode) are None if the run broke down before the first look;
    `findings` say why it failed, the likeliest cause first; `signal` ended it early, if not None.
    """

    passed: bool
    step: int
    seconds: float
    loss: float | None
    score: CellScore | None
    folder: Path
    findings: list[Finding] = field(default_factory=list)
    signal: int | None = None


def overfit(
    config: MagicPointConfig,
    *,
    out: str | Path | None = None,
    index: int | None = None,
    image: str | Path | None = None,
    labels: str | Path | None = None,
    images: int = 1,
    steps: int = 400,
    seconds: float = 180.0,
) -> OverfitResult:
    """Learn a few images by heart with the network, loss and optimiser of `config`, and say whether that worked.

    Args:
        config: schedule, averaging, workers, batch size and budget are replaced, see the head of this file.
        out: run folder, new or empty; default the first of runs/overfit, runs/overfit-2, ... that is.
        index: synthetic scene to start from; default the first one with a label.
        image: a photograph instead of what `config.data` names, resized and cropped to config.data.height x width.
        labels: its points, see `read_points`; default the detections of the pretrained network.
        images: how many scenes, or labelled photographs of `config.data`.
        steps, seconds: whichever is spent first ends the attempt.

    Raises:
        UserError: a file or scene that cannot be used, a folder that is not empty.
    """
    folder = free_folder() if out is None else Path(out)
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--out {folder}: found a folder that is not empty, expected a new one, as {free_folder()} is")
    console = Console()
    if image is None and labels is not None:
        raise UserError(f"--labels {labels}: found no --image that they belong to")
    if image is not None and (index is not None or images != 1):
        raise UserError(f"--image {image}: found --index or --images too, expected a photograph alone")
    if image is not None:  # instead of what the configuration names, be it a mixture, which cannot be overfitted
        config = replace(config, data=replace(config.data, kind="synthetic", labels=None, images=None))
    schedule, config = config.schedule, overfit_config(config, folder, index or 0, images, steps, seconds)
    if image is None:
        subject = configured_samples(config, index)
    else:
        config, subject = single_photograph(config, folder, image, labels)
    dataset, about = subject.dataset, subject.about
    start = initial_model(config)
    fabric = make_fabric(config.train)
    if fabric.world_size > 1:
        raise UserError(f"overfit: found {fabric.world_size} processes, expected 1 (no torchrun)")
    objective = detector_objective(config)
    watch = CellWatch(dataset, config.data.overfit, objective, every=EVERY, at_once=BATCH)
    rate = f"{config.optimizer.name} at a constant rate of {config.optimizer.lr:g}"
    console.print(
        f"{about}: {int(watch.positive.sum())} of {int(watch.batch['valid'].sum())} cells hold a point; {rate}, "
        f"batch {config.train.batch_size}, no augmentation, no averaging of weights",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    watch.start(start.to(fabric.device))
    result = None
    try:
        result = fit_detector(config, fabric, dataset, watch, prepare=subject.keep)
    except UserError:
        if not RunFolder(folder).history().nonfinite:
            raise  # a mistake of the user's, not what is examined here
    outcome = _judge(config, schedule, dataset, watch, result)
    _write(outcome, watch, about)
    for line in report_lines(outcome):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    return outcome


def overfit_config(
    config: MagicPointConfig, folder: Path, first: int, images: int, steps: int, seconds: float
) -> MagicPointConfig:
    """`config` with all that stands in the way of learning by heart taken out."""
    return replace(
        config,
        run=str(folder),
        data=replace(config.data, overfit=images, overfit_first=first, workers=0),
        # gamma=1: nor may a rate be reduced because the cells do not get right at once.
        schedule=ScheduleConfig(name="constant", warmup=0.0, gamma=1.0),
        train=replace(
            config.train,
            steps=steps,
            minutes=seconds / 60,
            batch_size=min(images, BATCH),
            accumulate=1,
            ema=0.0,
            log_every=1,
            validate_every=EVERY,
        ),
    )


def check_overrides(overrides: Sequence[str]) -> None:
    """Raises: UserError for a `key.path=value` that this stage would pass over."""
    for override in overrides:
        key = override.partition("=")[0]
        for replaced, option in REPLACED.items():
            if key == replaced or key.startswith(f"{replaced}."):
                how = f"by {option}" if option else "by itself: no augmentation, a constant rate, one batch"
                raise UserError(f"{override}: overfit sets {replaced} {how}")


def free_folder(parent: Path = Path("runs")) -> Path:
    """The first of runs/overfit, runs/overfit-2, ... that does not exist or is empty."""
    for number in range(1, 10_000):
        folder = parent / ("overfit" if number == 1 else f"overfit-{number}")
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return folder
    raise UserError(f"{parent}: found overfit .. overfit-9999, expected one of them to be free; choose by --out")


def _judge(
    config: MagicPointConfig,
    schedule: ScheduleConfig,
    dataset: PointSamples,
    watch: CellWatch,
    result: TrainResult | None,
) -> OverfitResult:
    """PASS or, with its causes, FAIL. `result` is None after NaN or infinity, `schedule` is that of the user."""
    folder = Path(config.run)
    history = RunFolder(folder).history()
    seconds = result.elapsed if result else max((float(e.get("elapsed", 0)) for e in history.entries), default=0.0)
    step = result.step if result else history.step
    looks = [int(entry["step"]) for entry in history.entries if entry["event"] == "validate"]
    if looks:  # the last look at the end of a budget in seconds is at no multiple of EVERY
        watch.frames[-1] = replace(watch.frames[-1], step=looks[-1])
    score = watch.score if result is not None else None
    loss = watch.frames[-1].loss if score is not None else None
    passed = score is not None and score.wrong_count == 0
    if passed or (result is not None and result.interrupted):
        signal = result.signal if result is not None else None
        return OverfitResult(passed, step, seconds, loss, score, folder, signal=signal)
    # With the schedule of the run that is to come: the advice is for that one.
    case = replace(read_run(folder).case, dataset=dataset, config=replace(config, schedule=schedule))
    findings = explain_failure(case, score)
    return OverfitResult(False, step, seconds, loss, score, folder, findings)


def report_lines(outcome: OverfitResult) -> list[str]:
    """What the command prints at the end."""
    spent = f"{outcome.step} steps, {outcome.seconds:.1f} s"
    pictures = f"pictures: {outcome.folder / 'strip.png'}, {outcome.folder / 'strip.gif'}"
    if outcome.signal is not None:
        return [f"stopped after {spent}", pictures]
    if outcome.passed and outcome.score is not None:
        return [f"PASS: all {outcome.score.cells} cells right after {spent}", pictures]
    first, *others = outcome.findings
    lines = [f"FAIL: {first.cause}", f"seen: {first.evidence}", f"remedy: {first.remedy}"]
    lines += [f"also: {other.check}: {other.cause} {other.evidence}" for other in others if other.check != "cells"]
    if outcome.score is not None and first.check != "cells":
        lines.append(f"left after {spent}: {outcome.score.text}")
    else:
        lines.append(f"ended after {spent}")
    return [*lines, pictures]


def _write(outcome: OverfitResult, watch: CellWatch, about: str) -> None:
    frames = _chosen(watch.frames)
    positive = watch.positive[0].numpy()
    strip = encode_png(heatmap_strip(watch.image, watch.points, positive, frames, about))
    animation = heatmap_animation(watch.image, watch.points, positive, frames, about)
    write_atomically(outcome.folder / "strip.png", lambda file: file.write(strip))
    write_atomically(outcome.folder / "strip.gif", lambda file: file.write(animation))
    score = outcome.score
    content = {
        "passed": outcome.passed,
        "about": about,
        "step": outcome.step,
        "seconds": outcome.seconds,
        "loss": outcome.loss,
        "cells": score.cells if score else None,
        "wrong": score.wrong_count if score else None,
        "frames": [frame.step for frame in frames],
        "findings": [finding.as_dict() for finding in outcome.findings],
    }
    write_atomically(outcome.folder / "overfit.json", lambda file: file.write(json.dumps(content, indent=1).encode()))


def _chosen(frames: Sequence[Frame]) -> list[Frame]:
    wrong = [int(frame.wrong.sum()) for frame in frames]
    return [frames[number] for number in moments([frame.step for frame in frames], wrong)]
