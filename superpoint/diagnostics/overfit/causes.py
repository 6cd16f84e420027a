"""Which cells and matches a network has learnt by heart and, if not all, why not."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from superpoint.config import SuperPointConfig
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.history import nonfinite
from superpoint.diagnostics.checks.jumps import gradient_jump
from superpoint.diagnostics.checks.network import batchnorm
from superpoint.diagnostics.checks.rate import learning_rate
from superpoint.diagnostics.finding import Finding, Status
from superpoint.diagnostics.heatmaps.cell_maps import Verdict, judge_cells
from superpoint.geometry.cells import CELL, DUSTBIN

FALLING = 0.9  # loss of the last tenth of the steps over that of the tenth before: below, more steps would help
LATE = 0.1
# The paper's lambda_d and the cells of its images. A pair of 64x64 (64 cells) was not learnt with 250, but with 13.
PAPER_WEIGHT, PAPER_CELLS = 250.0, 1200
ALIKE = 0.9  # negative over positive similarity from which on all descriptors are alike


@dataclass(frozen=True)
class CellScore:
    """The largest channel of each valid cell against its label.

    Attributes:
        wrong: bool [B, H / 8, W / 8].
        cells, points: valid cells, and how many of them hold a label point.
        missed, false, misplaced: wrong cells by their `Verdict`.
        near: misplaced by at most 1 px along both axes.
        border: wrong cells that touch the outline of the image.
    """

    wrong: NDArray[np.bool_]
    cells: int
    points: int
    missed: int
    false: int
    misplaced: int
    near: int
    border: int

    @property
    def wrong_count(self) -> int:
        return self.missed + self.false + self.misplaced

    @property
    def text(self) -> str:
        parts = []
        if self.missed:
            parts.append(f"{self.missed} of {self.points} points not found")
        if self.false:
            parts.append(f"{self.false} found where there are none")
        if self.misplaced:
            parts.append(f"{self.misplaced} at a wrong pixel (of these {self.near} off by one)")
        where = f"; {self.border} of them along the image border" if self.border else ""
        return f"{self.wrong_count} of {self.cells} cells wrong: {', '.join(parts)}{where}"


def score_cells(logits: Tensor, target: Tensor, valid: Tensor) -> CellScore:
    """Compare logits [B, 65, H / 8, W / 8] with target int64 0..64 and valid bool [B, H / 8, W / 8]."""
    found, wanted, counted = logits.float().argmax(dim=1).numpy(), target.numpy(), valid.numpy()
    verdict = judge_cells(found, wanted, counted)
    wrong, misplaced = verdict != Verdict.RIGHT, verdict == Verdict.MISPLACED
    rows, columns = np.abs(found // CELL - wanted // CELL), np.abs(found % CELL - wanted % CELL)
    outline = np.ones_like(wrong[0])
    outline[1:-1, 1:-1] = False
    return CellScore(
        wrong,
        cells=int(counted.sum()),
        points=int(((wanted != DUSTBIN) & counted).sum()),
        missed=int((verdict == Verdict.MISSED).sum()),
        false=int((verdict == Verdict.FALSE).sum()),
        misplaced=int(misplaced.sum()),
        near=int((misplaced & (rows <= 1) & (columns <= 1)).sum()),
        border=int((wrong & outline).sum()),
    )


@dataclass(frozen=True)
class MatchScore:
    """How many matches were asked for, both ways, and how many are wrong; `what`: "correspondences" or "cells"."""

    asked: int
    wrong: int
    what: str

    @property
    def accuracy(self) -> float:
        return 1 - self.wrong / self.asked if self.asked else 0.0

    @property
    def text(self) -> str:
        return f"{self.wrong} of {self.asked} {self.what} matched wrongly"


def explain_failure(
    case: Case,
    score: CellScore | None,
    matching: MatchScore | None = None,
    figures: Mapping[str, float] | None = None,
) -> list[Finding]:
    """Return why a network has not learnt its samples by heart: findings that are not PASS, the likeliest first.

    Args:
        case: of the finished run.
        score: at the end, in evaluation mode; None if the run broke down before there was any.
        matching, figures: of pairs, their matches and what the objective returned.
    """
    checks = [nonfinite(case), gradient_jump(case), learning_rate(case)]
    broken = any(finding.status is Status.FAIL for finding in checks)
    if score is not None and not broken:  # the end of a run that has blown up says nothing about anything else
        unfinished = _unfinished(case, score.text if score.wrong_count or matching is None else matching.text)
        # While the loss falls, finding nothing yet is no plateau.
        checks += [_plateau(score) if unfinished.status is Status.PASS else unfinished, batchnorm(case)]
        if score.wrong_count:
            checks.append(_rest(score))
        if isinstance(case.config, SuperPointConfig) and matching is not None and matching.wrong:
            checks.append(explain_matching(matching, figures or {}, case.config))
    # What FAILs explains the run; a WARN (a jump that it got over) comes after what is certain.
    found = [finding for finding in checks if finding.status is not Status.PASS]
    return sorted(found, key=lambda finding: finding.status is not Status.FAIL)


def _plateau(score: CellScore) -> Finding:
    if score.missed < score.points or score.false:
        return Finding("dustbin", Status.PASS, "some points are found")
    return Finding(
        "dustbin",
        Status.FAIL,
        f"None of the {score.points} points is found, every cell says 'no point'.",
        "Stuck on the dustbin plateau, the cheapest constant answer.",
        "Raise loss.positive_weight (3 to 10), then look at the labels and at optimizer.lr (`superpoint find-lr`).",
    )


def _unfinished(case: Case, left: str) -> Finding:
    losses = [float(entry["loss"]) for entry in case.events("train") if entry.get("loss") is not None]
    share = max(round(LATE * len(losses)), 1)
    if len(losses) >= 3 * share:
        before, last = statistics.fmean(losses[-2 * share : -share]), statistics.fmean(losses[-share:])
        if last <= FALLING * before:
            seen = f"Loss still falling, from {before:.3g} to {last:.3g} over the last {2 * share} steps; {left}."
            remedy = "Give it more with --steps and --minutes, or raise optimizer.lr."
            return Finding("budget", Status.FAIL, seen, "The budget ended too early.", remedy)
    return Finding("budget", Status.PASS, "the loss no longer falls")


def _rest(score: CellScore) -> Finding:
    if score.near and score.near == score.wrong_count:
        cause = "All but exact, one pixel off: labels that change between samples, or a rate too high."
        remedy = "Lower optimizer.lr; `superpoint doctor` on this folder checks labels against the image."
    elif score.border and score.border == score.wrong_count:
        cause = "Only cells along the border are wrong: padding that looks like an edge, or labels there without cause."
        remedy = "Look at the last frame of strip.png; `superpoint doctor` on this folder checks the border."
    else:
        cause = "The loss has settled, but not at these labels: capacity, labels that contradict, or the loss."
        remedy = "Look at the last frame of strip.png; try fewer images, a larger network, `superpoint doctor`."
    return Finding("cells", Status.FAIL, f"{score.text}.", cause, remedy)


def explain_matching(matching: MatchScore, figures: Mapping[str, float], config: SuperPointConfig) -> Finding:
    """Return why matches are wrong, from the similarities that the objective measured."""
    positive, negative = figures["positive_similarity"], figures["negative_similarity"]
    seen = f"{matching.text}; similarity of the same point {positive:.2f}, of others {negative:.2f}."
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
        cause = "Some points are not told apart: short descriptors, a loss that has settled, or points that look alike."
        remedy = "Raise model.descriptor_dim or --steps; look at matches.png: repeated texture cannot be told apart."
    return Finding("matching", Status.FAIL, seen, cause, remedy)
