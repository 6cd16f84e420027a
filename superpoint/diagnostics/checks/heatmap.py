"""Checks of the heatmap: do its cells differ, and do points keep off the cells' grid and the image's border?"""

from __future__ import annotations

import math

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.observation import Observation, alarm, border_share, observe, unjudged
from superpoint.diagnostics.finding import Finding, Status
from superpoint.evaluation.statistics import NMS_RADIUS, THRESHOLD
from superpoint.evaluation.statistics import cell_pattern as common_pattern
from superpoint.geometry.cells import CELL, DUSTBIN
from superpoint.geometry.placement import Placement, measure_placement
from superpoint.models.decode import logits_to_probability, probability_to_points

# Share of a cell's variation that all cells have in common. Healthy .02 .. .11, untrained .12; healthy ones on the way
# .8 after 200 samples, .5 after 800, .4 after 1200 (weak patterns: .2 to .4 nats), hence a floor below that of probes.
SAME_CELLS, ALIKE_CELLS, FLOOR = 0.85, 0.5, 0.05
# Share of the cells with a point whose strongest pixel is within 2 px of it. Healthy .79 .. .84, untrained .29.
LOCATED = 0.5
# Share of the points in the commonest row or column of a cell; healthy .16 .. .23 of 150 to 300 points, 1/8 is even.
GRID, ENOUGH_POINTS = 0.4, 60
# Odds of a point lying within 8 px of the outline over those of a pixel. Healthy .4 .. 1.3.
ON_BORDER, NEAR_BORDER, FEWEST = 5.0, 2.5, 20


def cell_pattern(case: Case) -> Finding:
    """Do all 8x8 cells look the same, or do the points sit on a grid?"""
    if finding := unjudged("cell_pattern", case):
        return finding
    seen = observe(case)
    q = seen.logits.double().log_softmax(dim=1)
    if min(q.shape[2:]) > 3:
        q = q[:, :, 1:-1, 1:-1]  # the outermost cells see padding
    value = common_pattern(q, FLOOR)
    located = _located(seen)
    placed = _inner_placement(case)
    details = {
        "cell_pattern": value,
        "located": located,
        "points": placed.points,
        "phase": placed.phase if placed.points else None,
        "fullest": placed.fullest if placed.points else None,
    }
    evidence = f"{value:.0%} of what varies inside a cell is common to all cells (expected below {ALIKE_CELLS:.0%})"
    if located is not None:
        evidence += f"; in {located:.0%} of the cells with a point the strongest pixel is within 2 px of it"
    on_grid = False
    if seen.trained and placed.points >= ENOUGH_POINTS:
        on_grid = placed.fullest > GRID
        evidence += (
            f"; {placed.fullest:.0%} of {placed.points} points away from the border are in one row or column of their "
            f"cell (expected 12.5 % to {GRID:.0%})"
        )
    evidence += "."
    # Where points are located, the empty cells alone may be alike: as when a single image is overfitted.
    alike = value >= SAME_CELLS or (value >= ALIKE_CELLS and (located is None or located < LOCATED))
    if not alike and not on_grid:
        return Finding("cell_pattern", Status.PASS, evidence, details=details)
    if alike:
        cause = (
            "Every 8x8 cell of the heatmap looks the same: the head does not see where it is (features without spatial "
            "variation, e.g. pooled over the image), or it has learnt only the mean label position."
        )
        remedy = "Look at the features' variance over cells before the head, at pooling and strides; see also `labels`."
    else:
        cause = (
            "Grid: points crowd on the same row or column of the 8x8 cells. Where a corner may lie in either of two "
            "cells, both claim it, which over-weighted positives worsen; or labels are wrong at cell borders."
        )
        remedy = "Lower loss.positive_weight (the logit adjustment of DetectorObjective must be on); train longer."
    return alarm("cell_pattern", case, alike and value >= SAME_CELLS, evidence, cause, remedy, details)


def _located(seen: Observation) -> float | None:
    """Share of the cells with a point whose strongest pixel is within 2 px of it along both axes; None without any."""
    target, strongest = seen.batch["target"], seen.logits[:, :DUSTBIN].argmax(dim=1)
    positive = (target != DUSTBIN) & seen.batch["valid"]
    if not bool(positive.any()):
        return None
    down = (strongest // CELL - target // CELL).abs()
    across = (strongest % CELL - target % CELL).abs()
    return float(((down <= 2) & (across <= 2))[positive].float().mean())


def _inner_placement(case: Case) -> Placement:
    """Placement of the points more than 8 px from the outline: artefacts of the border are another check's."""
    inner = logits_to_probability(observe(case).logits)[:, CELL:-CELL, CELL:-CELL]
    if inner.numel() == 0:
        return Placement(0, math.nan, math.nan, math.nan)
    found = probability_to_points(inner, nms_radius=NMS_RADIUS, threshold=THRESHOLD, border=0, subpixel=False)
    return measure_placement([each.points.numpy() for each in found], [(inner.shape[1], inner.shape[2])] * len(inner))


def border(case: Case) -> Finding:
    """Do the points crowd on the border of the image?"""
    if finding := unjudged("border", case):
        return finding
    seen = observe(case)
    points = round(seen.statistics["detections"] * len(seen.logits))
    area = border_share(case)
    share = min(seen.statistics["border"] * area, 1.0) if points else 0.0
    # Odds, not the ratio of densities: that one is at most 1 / area, which is 2 for an image of 48x64.
    odds = share / max(1 - share, 1e-6) / (area / max(1 - area, 1e-6))
    details = {"points": points, "on_border": share, "area": area, "odds": odds}
    if points < FEWEST:
        evidence = f"{points} points in {len(seen.logits)} images are too few to say where they are; see `dustbin`."
        return Finding("border", Status.PASS, evidence, details=details)
    evidence = (
        f"{share:.0%} of {points} points lie within 8 px of the outline, {area:.0%} of the image's area (odds "
        f"{odds:.1f}, expected below {NEAR_BORDER})."
    )
    if odds < NEAR_BORDER:
        return Finding("border", Status.PASS, evidence, details=details)
    cause = (
        "Points crowd on the border of the image: zero padding looks like an edge, and nothing has taught the network "
        "otherwise (labels there, no valid mask for what lies beyond a warp)."
    )
    remedy = (
        "Mask the cells beyond a warp's outline (sample['valid'], data.homography.border_margin), pad by replication, "
        "and drop what is left by decode.border=4. If `labels` fails, that comes first."
    )
    return Finding("border", Status.FAIL if odds > ON_BORDER else Status.WARN, evidence, cause, remedy, details)
