"""Which cells of the training images a network has learnt by heart and, if not all, why not."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.history import gradient_jump, learning_rate, nonfinite
from superpoint.diagnostics.checks.network import batchnorm
from superpoint.diagnostics.finding import Finding, Status
from superpoint.geometry.cells import CELL, DUSTBIN

FALLING = 0.9  # loss of the last tenth of the steps over that of the tenth before: below, more steps would help
LATE = 0.1


@dataclass(frozen=True)
class CellScore:
    """The largest channel of each valid cell against its label.

    Attributes:
        wrong: bool [B, H / 8, W / 8].
        cells: valid cells.
        points: of these, cells whose label is a point.
        missed: cells with a point that are taken for empty.
        invented: empty cells that are taken for ones with a point.
        misplaced: cells whose point is seen at another pixel.
        near: of the misplaced, those off by at most 1 px along both axes.
        border: wrong cells that touch the outline of the image.
    """

    wrong: Tensor
    cells: int
    points: int
    missed: int
    invented: int
    misplaced: int
    near: int
    border: int

    @property
    def wrong_count(self) -> int:
        return self.missed + self.invented + self.misplaced

    @property
    def text(self) -> str:
        """Which cells are wrong, in words."""
        parts = []
        if self.missed:
            parts.append(f"{self.missed} of {self.points} points not found")
        if self.invented:
            parts.append(f"{self.invented} found where there are none")
        if self.misplaced:
            parts.append(f"{self.misplaced} at a wrong pixel (of these {self.near} off by one)")
        where = f"; {self.border} of them along the image border" if self.border else ""
        return f"{self.wrong_count} of {self.cells} cells wrong: {', '.join(parts)}{where}"


def score_cells(logits: Tensor, target: Tensor, valid: Tensor) -> CellScore:
    """Compare logits [B, 65, H / 8, W / 8] with target int64 0..64 and valid bool [B, H / 8, W / 8]."""
    found = logits.float().argmax(dim=1)
    wrong = (found != target) & valid
    labelled, seen = target != DUSTBIN, found != DUSTBIN
    misplaced = wrong & labelled & seen
    rows = (found // CELL - target // CELL).abs()
    columns = (found % CELL - target % CELL).abs()
    outline = torch.ones_like(wrong[0])
    outline[1:-1, 1:-1] = False
    return CellScore(
        wrong,
        cells=int(valid.sum()),
        points=int((labelled & valid).sum()),
        missed=int((wrong & labelled & ~seen).sum()),
        invented=int((wrong & ~labelled).sum()),
        misplaced=int(misplaced.sum()),
        near=int((misplaced & (rows <= 1) & (columns <= 1)).sum()),
        border=int((wrong & outline).sum()),
    )


def explain_failure(case: Case, score: CellScore | None) -> list[Finding]:
    """Why a network has not learnt its images by heart: findings that are not PASS, the likeliest cause first.

    Args:
        case: of the finished run; its dataset has the images.
        score: at the end, in evaluation mode; None if the run broke down before there was any.
    """
    checks = [nonfinite(case), gradient_jump(case), learning_rate(case)]
    broken = any(finding.status is Status.FAIL for finding in checks)
    if score is not None and not broken:  # how a run ends that has blown up says nothing about anything else
        unfinished = _unfinished(case, score)
        # While the loss falls, finding nothing yet is no plateau.
        checks.append(_plateau(score) if unfinished.status is Status.PASS else unfinished)
        checks += [batchnorm(case), _rest(score)]
    # What FAILs explains the run; a WARN (a jump that it got over) comes after what is certain.
    found = [finding for finding in checks if finding.status is not Status.PASS]
    return sorted(found, key=lambda finding: finding.status is not Status.FAIL)


def _plateau(score: CellScore) -> Finding:
    if score.missed < score.points or score.invented:
        return Finding("dustbin", Status.PASS, "some points are found")
    return Finding(
        "dustbin",
        Status.FAIL,
        f"None of the {score.points} points is found, every cell says 'no point'.",
        "Stuck on the dustbin plateau, the cheapest constant answer.",
        "Raise loss.positive_weight (3 to 10), then look at the labels and at optimizer.lr (`superpoint find-lr`).",
    )


def _unfinished(case: Case, score: CellScore) -> Finding:
    """Was the loss still falling when the budget ended?"""
    losses = [float(entry["loss"]) for entry in case.events("train") if entry.get("loss") is not None]
    share = max(round(LATE * len(losses)), 1)
    if len(losses) < 3 * share or (late := _late(losses, share)) is None or late[1] > FALLING * late[0]:
        return Finding("budget", Status.PASS, "the loss no longer falls")
    return Finding(
        "budget",
        Status.FAIL,
        f"Loss still falling, from {late[0]:.3g} to {late[1]:.3g} over the last {2 * share} steps; {score.text}.",
        "The budget ended too early.",
        "Give it more with --steps and --minutes, or raise optimizer.lr.",
    )


def _late(losses: Sequence[float], share: int) -> tuple[float, float] | None:
    before, last = losses[-2 * share : -share], losses[-share:]
    return (statistics.fmean(before), statistics.fmean(last)) if before and last else None


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
