"""Checks of the output: detections, use of the input, grid, border, range."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.observation import Observation, alarm, border_share, observe, unjudged
from superpoint.diagnostics.finding import Finding, Status
from superpoint.evaluation import statistics
from superpoint.geometry.cells import CELL, DUSTBIN
from superpoint.geometry.placement import Placement, measure_placement
from superpoint.losses import detector_loss
from superpoint.models.decode import logits_to_probability, probability_to_keypoints

# Cells that the network takes for points over cells that hold one. Healthy .66 .. 1.01, untrained 10 .. 15.
NO_POINTS, FEW_POINTS = 0.1, 0.3
ENOUGH_POSITIVES = 20  # cells with a point; of fewer, the share found is chance
# Share of the output's variance that is due to the input. Healthy .88 .. .95 (8 and 16 images), untrained .51 .. .67.
IGNORED, HARDLY_USED = 0.1, 0.3
# Largest difference of two cells' logsumexp, and largest |logit|. Healthy 7.5 .. 9.8 and 23 .. 35.
SCALE, FAR, LARGE = 88.0, 30.0, 60.0
# Share of a cell's variation that all cells have in common. Healthy .02 .. .11, untrained .12, on the way .8 (weak
# patterns of .2 to .4 nats).
SAME_CELLS, ALIKE_CELLS, FLOOR = 0.85, 0.5, 0.05
# Share of the cells with a point whose strongest pixel is within 2 px of it. Healthy .79 .. .84, untrained .29.
LOCATED = 0.5
# Share of the points in the commonest row or column of a cell; healthy .16 .. .23 of 150 to 300 points, 1/8 is even.
GRID, ENOUGH_POINTS = 0.4, 60
# Odds of a point lying within 8 px of the outline over those of a pixel. Healthy .4 .. 1.3.
ON_BORDER, NEAR_BORDER, FEWEST = 5.0, 2.5, 20


def dustbin(case: Case) -> Finding:
    """Has the network settled for predicting no points at all?"""
    if finding := unjudged("dustbin", case):
        return finding
    seen = observe(case)
    target, valid = seen.batch["target"], seen.batch["valid"]
    counts = torch.bincount(target[valid], minlength=DUSTBIN + 1).double().numpy()
    flat = plateau(counts, case.config.loss.positive_weight)
    share = seen.found / max(seen.positives, 1)
    recall, mass = seen.statistics["recall"], seen.statistics["dustbin"]
    train = case.events("train")
    logged = train[-1].get("loss") if train else None
    evidence = (
        f"{seen.found} cells are taken for points, {seen.positives} hold one (ratio {share:.2f}, expected above "
        f"{FEW_POINTS}; recall {recall:.2f}, mean dustbin probability {mass:.3f}). Loss {seen.loss:.3f}"
        f"{'' if logged is None else f', last logged {logged:.3f}'}; a network that predicts the class frequencies "
        f"everywhere has {flat:.3f} (the plateau)."
    )
    if seen.positives == 0:
        evidence = f"No cell of the {len(target)} samples holds a point, so there is nothing to find: see `labels`."
        return Finding("dustbin", Status.PASS, evidence)
    if share > FEW_POINTS:
        return Finding("dustbin", Status.PASS, evidence)
    if seen.positives < ENOUGH_POSITIVES and not case.config.data.overfit:  # a few samples may hold no more
        evidence += f" That is too few positives to judge: {seen.positives}, expected {ENOUGH_POSITIVES} or more."
        return Finding("dustbin", Status.PASS, evidence)
    where = "above" if seen.loss > 1.15 * flat else "below" if seen.loss < 0.85 * flat else "on"
    cause = "The network finds few of the points: it has hardly left the plateau of predicting none."
    if share < NO_POINTS:
        cause = f"All dustbin: nearly every cell says 'no point', the cheapest answer (loss {where} that plateau)."
    remedy = "First see `labels`, `input`, `batchnorm`; then raise loss.positive_weight; try `superpoint overfit`."
    if where == "above":
        remedy = f"Worse than a constant: look at the dustbin's bias (detector.logits.bias[64], updates). {remedy}"
    return alarm("dustbin", case, share < NO_POINTS, evidence, cause, remedy)


def plateau(counts: NDArray[np.floating], positive_weight: float) -> float:
    """Return the lowest `losses.detector_loss` of a prediction that is equal for all cells and their 64 pixels.

    It is the entropy of the weighted class frequencies, -f_d log f_d - (1 - f_d) log((1 - f_d) / 64).

    counts: [65], valid cells per class.
    """
    weighted = np.append(positive_weight * counts[:DUSTBIN], counts[DUSTBIN])
    f = weighted / max(weighted.sum(), 1e-12)
    p, used = np.append(np.full(DUSTBIN, (1 - f[DUSTBIN]) / DUSTBIN), f[DUSTBIN]), f > 0
    return float(-(f[used] * np.log(p[used])).sum())


def input_sensitivity(case: Case) -> Finding:
    """Does the output depend on the input?"""
    if finding := unjudged("input_sensitivity", case):
        return finding
    seen = observe(case)
    value, count = seen.statistics["input_sensitivity"], len(seen.logits)
    if count < 4:  # a data set of a few samples to overfit: their mirror images make a batch of them
        image = seen.image.float()
        with torch.no_grad():
            logits = case.model(torch.cat([image, image.flip(3), image.flip(2), image.flip(2, 3)]))["logits"]
        value, count = statistics.input_sensitivity(logits.double().log_softmax(dim=1)), 4 * count
    evidence = (
        f"{value:.1%} of the variance of the log-probabilities is due to the input ({count} images; expected above "
        f"{HARDLY_USED:.0%}, healthy networks have 85 to 95 %)."
    )
    if value >= HARDLY_USED:
        return Finding("input_sensitivity", Status.PASS, evidence)
    cause = "The same map whatever it sees: the signal is lost (dead layers, a cached tensor), only biases are learnt."
    remedy = "Look at `dead_relu`, `batchnorm` and `input`; then feed two different images and compare layer by layer."
    status = Status.FAIL if value < IGNORED else Status.WARN
    return Finding("input_sensitivity", status, evidence, cause, remedy)


def cell_pattern(case: Case) -> Finding:
    """Do all 8x8 cells look the same, or do the points sit on a grid?"""
    if finding := unjudged("cell_pattern", case):
        return finding
    seen = observe(case)
    q = seen.logits.double().log_softmax(dim=1)
    if min(q.shape[2:]) > 3:
        q = q[:, :, 1:-1, 1:-1]  # the outermost cells see padding
    value = statistics.cell_pattern(q, FLOOR)
    located = _located(seen)
    placed = _inner_placement(case)
    evidence = f"{value:.0%} of what varies inside a cell is common to all cells (expected below {ALIKE_CELLS:.0%})"
    if located is not None:
        evidence += f"; in {located:.0%} of the cells with a point the strongest pixel is within 2 px of it"
    on_grid = False
    if seen.trained and placed.keypoints >= ENOUGH_POINTS:
        on_grid = placed.fullest > GRID
        evidence += (
            f"; {placed.fullest:.0%} of {placed.keypoints} points away from the border are in one row or column of "
            f"their cell (expected 12.5 % to {GRID:.0%})"
        )
    evidence += "."
    # Where points are located, the empty cells alone may be alike: as when a single image is overfitted.
    alike = value >= SAME_CELLS or (value >= ALIKE_CELLS and (located is None or located < LOCATED))
    if not alike and not on_grid:
        return Finding("cell_pattern", Status.PASS, evidence)
    if alike:
        cause = "Every 8x8 cell looks the same: features without spatial variation, or only the mean label is learnt."
        remedy = "Look at the features' variance over cells before the head, at pooling and strides; see also `labels`."
    else:
        cause = "Grid: points crowd on one row or column of the cells: over-weighted positives, or wrong labels."
        remedy = "Lower loss.positive_weight (the logit adjustment of DetectorObjective must be on); train longer."
    return alarm("cell_pattern", case, alike and value >= SAME_CELLS, evidence, cause, remedy)


def _located(seen: Observation) -> float | None:
    """Return the share of cells with a point whose strongest pixel is within 2 px of it along both axes."""
    target, strongest = seen.batch["target"], seen.logits[:, :DUSTBIN].argmax(dim=1)
    positive = (target != DUSTBIN) & seen.batch["valid"]
    if not bool(positive.any()):
        return None
    down = (strongest // CELL - target // CELL).abs()
    across = (strongest % CELL - target % CELL).abs()
    return float(((down <= 2) & (across <= 2))[positive].float().mean())


def _inner_placement(case: Case) -> Placement:
    """Return the placement of the points more than 8 px from the outline: `border` checks the others."""
    inner = logits_to_probability(observe(case).logits)[:, CELL:-CELL, CELL:-CELL]
    if inner.numel() == 0:
        return Placement(0, math.nan, math.nan, math.nan)
    found = probability_to_keypoints(
        inner, nms_radius=statistics.NMS_RADIUS, threshold=statistics.THRESHOLD, border=0, subpixel=False
    )
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
    if points < FEWEST:
        evidence = f"{points} points in {len(seen.logits)} images are too few to say where they are; see `dustbin`."
        return Finding("border", Status.PASS, evidence)
    evidence = (
        f"{share:.0%} of {points} points lie within 8 px of the outline, {area:.0%} of the image's area (odds "
        f"{odds:.1f}, expected below {NEAR_BORDER})."
    )
    if odds < NEAR_BORDER:
        return Finding("border", Status.PASS, evidence)
    cause = "Points crowd on the border: zero padding looks like an edge, and no label or mask teaches otherwise."
    remedy = "See `labels` first; mask cells beyond a warp (data.homography.border_margin); decode.border=4."
    return Finding("border", Status.FAIL if odds > ON_BORDER else Status.WARN, evidence, cause, remedy)


def logit_scale(case: Case) -> Finding:
    """Do the cells' logits live on scales that exp() cannot hold?"""
    if finding := unjudged("logit_scale", case):
        return finding
    seen = observe(case)
    scale, largest = seen.statistics["cell_scale"], seen.statistics["logit_max"]
    overflow = seen.statistics["naive_exp_overflow"]
    naive = _naive_loss(seen)
    stable = float(detector_loss(seen.logits, seen.batch["target"], seen.batch["valid"])[0])
    evidence = (
        f"The cells' logsumexp differ by up to {scale:.1f} and |logit| reaches {largest:.1f} (expected below {FAR:.0f} "
        f"and {LARGE:.0f}); a naive softmax, sum(exp(logit)), overflows or vanishes in {overflow:.0%} of the cells: "
        f"the mean of -log p is {naive:.4g} that way, {stable:.4g} by losses.detector_loss."
    )
    if scale < FAR and largest < LARGE and overflow == 0:
        return Finding("logit_scale", Status.PASS, evidence)
    cause = "The logits are huge everywhere: weights or features have grown (a rate too high, input not normalised)."
    if scale >= FAR:
        cause = "Cells live on different scales: an offset of 65 logits changes no probability, but exp() overflows."
    remedy = "Keep to losses.detector_loss (logsumexp per cell, fp32); lower optimizer.lr, more weight_decay, a norm."
    status = Status.FAIL if overflow > 0 or scale > SCALE else Status.WARN
    return Finding("logit_scale", status, evidence, cause, remedy)


def _naive_loss(seen: Observation) -> float:
    """Return the mean of -log p over the valid cells with exp(logit) over their sum in fp32, without logsumexp."""
    exponentials = seen.logits.float().exp()
    p = exponentials / exponentials.sum(dim=1, keepdim=True)
    losses = -p.gather(1, seen.batch["target"][:, None]).log()[:, 0]
    return float(losses[seen.batch["valid"]].mean())
