"""Stage overfit: can this network, loss and optimiser learn one image by heart? If not, nothing else will work.

Trains on the same few samples without augmentation, averaging of weights, warm-up or decay of the rate. Passes as soon
as, in evaluation mode, the largest of the 65 channels is the label in every cell. With a joint configuration the
samples are pairs of views, and every correspondence must also find its counterpart by its descriptor, both ways.
Leaves a run folder with strip.png, overfit.json and, of pairs, matches.png.
"""

from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path

from rich.console import Console

from superpoint.config import MagicPointConfig, ScheduleConfig, SuperPointConfig
from superpoint.diagnostics.finding import Finding
from superpoint.diagnostics.overfit.causes import CellScore, MatchScore, explain_failure
from superpoint.diagnostics.overfit.correspondences import draw_correspondences
from superpoint.diagnostics.overfit.strip import heatmap_strip, moments
from superpoint.diagnostics.overfit.subjects import configured_samples, single_photograph
from superpoint.diagnostics.overfit.watch import Watch
from superpoint.diagnostics.reading import read_run
from superpoint.engine import RunFolder, TrainResult, make_fabric
from superpoint.engine.runs import ATTEMPT
from superpoint.errors import UserError
from superpoint.files import write_json
from superpoint.geometry.cells import DUSTBIN
from superpoint.losses import INITIAL_DETECTOR_LOSS
from superpoint.training.fit import fit
from superpoint.training.magicpoint import initial_model
from superpoint.training.objectives import detector_objective, joint_objective
from superpoint.visualize import save_image

BATCH = 8  # samples per step, at most
EVERY = 5  # steps between looks at the cells


@dataclass(frozen=True)
class OverfitResult:
    """How it ended.

    Attributes:
        loss, score, matching: of the last look; None if the run broke down before it. `matching` only of pairs.
        findings: why it failed, the likeliest cause first.
        signal: what ended it early, if anything did.
    """

    passed: bool
    step: int
    seconds: float
    loss: float | None
    score: CellScore | None
    folder: Path
    matching: MatchScore | None = None
    findings: list[Finding] = field(default_factory=list)
    signal: int | None = None


def overfit(
    config: MagicPointConfig,
    *,
    out: str | Path | None = None,
    index: int | None = None,
    image: str | Path | None = None,
    labels: str | Path | None = None,
    scenes: int = 1,
    steps: int = 400,
    minutes: float = 3.0,
) -> OverfitResult:
    """Learn a few samples by heart with the network, losses and optimiser of `config`.

    Args:
        config: `overfit_config` replaces a part of it. A `SuperPointConfig` makes the samples pairs.
        out: run folder, new or empty; default `free_folder()`.
        index: synthetic scene or pair to start from; default the first one with a label.
        image: a photograph instead of what `config.data` names, resized and cropped to config.data.height x width.
        labels: its points, see `read_points`; default the detections of the pretrained network.
        scenes: how many scenes, labelled photographs or pairs of `config.data`.
        steps, minutes: whichever is spent first ends the attempt.

    Raises:
        UserError: a file, scene or pair that cannot be used, a folder that is not empty.
    """
    folder = free_folder() if out is None else Path(out)
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--out {folder}: found a folder that is not empty, expected a new one, as {free_folder()} is")
    if image is None and labels is not None:
        raise UserError(f"--labels {labels}: found no --image that they belong to")
    if image is not None:
        if index is not None or scenes != 1:
            raise UserError(f"--image {image}: found --index or --scenes too, expected a photograph alone")
        config = replace(config, data=replace(config.data, kind="synthetic", labels=None, images=None))
    schedule, config = config.schedule, overfit_config(config, folder, index or 0, scenes, steps, minutes)
    if image is None:
        subject = configured_samples(config, index)
    else:
        config, subject = single_photograph(config, folder, image, labels)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    model = initial_model(config, say=console.print)
    joint = isinstance(config, SuperPointConfig)
    objective = joint_objective(config) if joint else detector_objective(config)
    fabric = make_fabric(config.train)
    if fabric.world_size > 1:
        raise UserError(f"overfit: found {fabric.world_size} processes, expected 1 (no torchrun)")
    watch = Watch(subject.dataset, scenes, objective, every=EVERY)
    console.print(
        f"{subject.about}: {_content(watch)}; {config.optimizer.name} at a constant rate of {config.optimizer.lr:g}, "
        f"batch {config.train.batch_size}, no augmentation, no averaging of weights"
    )
    watch.start(model.to(fabric.device))
    result = None
    expected = None if joint or config.weights else INITIAL_DETECTOR_LOSS

    def prepare() -> None:
        write_json(folder / ATTEMPT, {"passed": False, "about": subject.about})  # until `_write` knows more
        if subject.keep is not None:
            subject.keep()

    try:
        result = fit(
            config, fabric, model, objective, subject.dataset, watch,
            expected_initial_loss=expected, prepare=prepare,
        )  # fmt: skip
    except UserError:
        if not RunFolder(folder).history().nonfinite:
            raise  # a mistake of the user's, not what is examined here
    outcome = _judge(config, schedule, watch, result)
    _write(outcome, watch, subject.about)
    for line in _report_lines(outcome):
        console.print(line)
    return outcome


def _content(watch: Watch) -> str:
    if "matched" in watch.parts[0]:
        return f"{sum(int(part['matched'].sum()) for part in watch.parts)} correspondences"
    cells = [int(part["valid"].sum()) for part in watch.parts]
    points = [int(((part["target"] != DUSTBIN) & part["valid"]).sum()) for part in watch.parts]
    return f"{sum(points)} of {sum(cells)} cells hold a point"


def overfit_config(
    config: MagicPointConfig, folder: Path, first: int, scenes: int, steps: int, minutes: float
) -> MagicPointConfig:
    """Return `config` without what stands in the way of learning by heart."""
    return replace(
        config,
        run=str(folder),
        data=replace(config.data, overfit=scenes, overfit_first=first, workers=0),
        # gamma=1: nor may a rate be reduced because the cells do not get right at once.
        schedule=ScheduleConfig(name="constant", warmup=0.0, gamma=1.0),
        train=replace(
            config.train,
            steps=steps,
            minutes=minutes,
            batch_size=min(scenes, BATCH),
            accumulate=1,
            ema=0.0,
            log_every=1,
            validate_every=EVERY,
        ),
    )


def free_folder() -> Path:
    """Return the first of runs/overfit, runs/overfit-2, ... that does not exist or is empty."""
    folders = (Path("runs", "overfit" if number == 1 else f"overfit-{number}") for number in count(1))
    return next(each for each in folders if not each.exists() or (each.is_dir() and not any(each.iterdir())))


def _judge(
    config: MagicPointConfig, schedule: ScheduleConfig, watch: Watch, result: TrainResult | None
) -> OverfitResult:
    """`result` is None after NaN or infinity, `schedule` is the user's."""
    folder = Path(config.run)
    history = RunFolder(folder).history()
    looks = history.events("validate")
    if looks:  # the last look at the end of a budget in minutes is at no multiple of EVERY
        watch.frames[-1] = replace(watch.frames[-1], step=int(looks[-1]["step"]))
    if result is None:
        seconds = max((float(entry.get("elapsed", 0)) for entry in history.entries), default=0.0)
        outcome = OverfitResult(False, history.step, seconds, None, None, folder)
    else:
        found = (watch.figures["loss"] if watch.score else None, watch.score, folder, watch.matching)
        outcome = OverfitResult(watch.right, result.step, result.elapsed, *found, signal=result.signal)
        if outcome.passed or result.signal is not None:
            return outcome
    # With the schedule of the run that is to come: the advice is for that one.
    case = replace(read_run(folder).case, config=replace(config, schedule=schedule))
    return replace(outcome, findings=explain_failure(case, outcome.score, outcome.matching, watch.figures))


def _report_lines(outcome: OverfitResult) -> list[str]:
    spent = f"{outcome.step} steps, {outcome.seconds:.1f} s"
    score, matching = outcome.score, outcome.matching
    pictures = f"pictures: {outcome.folder / 'strip.png'}{', matches.png' if matching else ''}"
    if outcome.signal is not None:
        return [f"stopped after {spent}", pictures]
    if outcome.passed and score is not None:
        matched = f", all {matching.asked} {matching.what} matched (both ways)" if matching else ""
        return [f"PASS: all {score.cells} cells right{matched} after {spent}", pictures]
    first, *others = outcome.findings
    lines = [f"FAIL: {first.cause}", f"seen: {first.evidence}", f"remedy: {first.remedy}"]
    lines += [f"also: {other.check}: {other.cause} {other.evidence}" for other in others if other.check != "cells"]
    if score is not None and score.wrong_count and first.check != "cells":
        return [*lines, f"left after {spent}: {score.text}", pictures]
    return [*lines, f"ended after {spent}", pictures]


def _write(outcome: OverfitResult, watch: Watch, about: str) -> None:
    wrong = [int(frame.wrong.sum()) for frame in watch.frames]
    frames = [watch.frames[number] for number in moments([frame.step for frame in watch.frames], wrong)]
    strip = heatmap_strip(watch.image, watch.points, watch.positive, frames)
    save_image(outcome.folder / "strip.png", strip)
    if watch.shown is not None:
        save_image(outcome.folder / "matches.png", draw_correspondences(watch.parts[0], watch.shown, 0))
    score, matching = outcome.score, outcome.matching
    content = {
        "passed": outcome.passed,
        "about": about,
        "step": outcome.step,
        "seconds": outcome.seconds,
        "loss": outcome.loss,
        "cells": score.cells if score else None,
        "wrong": score.wrong_count if score else None,
        "matching": asdict(matching) if matching else None,
        "figures": watch.figures if score else {},
        "frames": [frame.step for frame in frames],
        "findings": [finding.as_dict() for finding in outcome.findings],
    }
    write_json(outcome.folder / ATTEMPT, content)
