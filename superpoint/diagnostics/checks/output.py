"""Checks of the network's output: does it detect anything, does it look at its input, are its logits in range?"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.observation import Observation, alarm, observe, unjudged
from superpoint.diagnostics.finding import Finding, Status
from superpoint.evaluation.statistics import input_sensitivity
from superpoint.geometry.cells import DUSTBIN
from superpoint.losses import detector_loss

# Cells that the network takes for points over cells that hold one. Healthy .66 .. 1.01, untrained 10 .. 15.
NO_POINTS, FEW_POINTS = 0.1, 0.3
ENOUGH_POSITIVES = 20  # cells with a point; of fewer, the share found is chance
# Share of the output's variance that is due to the input. Healthy .88 .. .95 (8 and 16 images), untrained .51 .. .67.
IGNORED, HARDLY_USED = 0.1, 0.3
# Largest difference of two cells' logsumexp, and largest |logit|. Healthy 7.5 .. 9.8 and 23 .. 35; exp() of fp32
# overflows at 88.7, and what lies 103 below the largest value of the image vanishes.
SCALE, FAR, LARGE = 88.0, 30.0, 60.0


def dustbin(case: Case) -> Finding:
    """Has the network settled for predicting no points at all?"""
    if finding := unjudged("dustbin", case):
        return finding
    seen = observe(case)
    loss = case.config.loss
    target, valid = seen.batch["target"], seen.batch["valid"]
    counts = torch.bincount(target[valid], minlength=DUSTBIN + 1).double().numpy()
    flat, by_pixel = plateau(counts, loss.positive_weight, loss.dustbin_weight, loss.focal_gamma)
    share = seen.found / max(seen.positives, 1)
    recall, mass = seen.statistics["positive_recall"], seen.statistics["dustbin"]
    train = case.events("train")
    logged = train[-1].get("loss") if train else None
    details = {
        "plateau": flat,
        "plateau_by_pixel": by_pixel,
        "loss": seen.loss,
        "last_logged_loss": logged,
        "positive_recall": recall,
        "dustbin": mass,
        "cells_found": seen.found,
        "cells_with_point": seen.positives,
    }
    evidence = (
        f"{seen.found} cells are taken for points, {seen.positives} hold one (ratio {share:.2f}, expected above "
        f"{FEW_POINTS}; recall {recall:.2f}, mean dustbin probability {mass:.3f}). Loss {seen.loss:.3f}"
        f"{'' if logged is None else f', last logged {logged:.3f}'}; a network that predicts the class frequencies "
        f"everywhere has {flat:.3f} (the plateau)."
    )
    if seen.positives == 0:
        evidence = f"No cell of the {len(target)} samples holds a point, so there is nothing to find: see `labels`."
        return Finding("dustbin", Status.PASS, evidence, details=details)
    if share > FEW_POINTS:
        return Finding("dustbin", Status.PASS, evidence, details=details)
    if seen.positives < ENOUGH_POSITIVES and not case.config.data.overfit:  # a few samples may hold no more
        evidence += f" That is too few positives to judge: {seen.positives}, expected {ENOUGH_POSITIVES} or more."
        return Finding("dustbin", Status.PASS, evidence, details=details)
    where = "above" if seen.loss > 1.15 * flat else "below" if seen.loss < 0.85 * flat else "on"
    cause = (
        f"All dustbin: nearly every cell says 'no point', the cheapest constant answer (loss {where} that plateau)."
        if share < NO_POINTS
        else "The network finds few of the points: it has hardly left the plateau of predicting none."
    )
    remedy = (
        "First see `labels`, `input` and `batchnorm`; then raise loss.positive_weight (3 to 10) and try a smaller "
        "optimizer.lr. `superpoint overfit` shows whether the network can learn one image."
    )
    if where == "above":
        remedy = (
            "Worse than a constant, so nothing has been learnt to get here: look at the dustbin's bias "
            f"(detector.logits.bias[64], log(positive_weight / dustbin_weight) at the start) and its updates. {remedy}"
        )
    return alarm("dustbin", case, share < NO_POINTS, evidence, cause, remedy, details)


def plateau(
    counts: NDArray[np.floating], positive_weight: float, dustbin_weight: float, focal_gamma: float = 0.0
) -> tuple[float, float]:
    """Least loss of a prediction that is the same for every cell, for `losses.detector_loss`.

    Args:
        counts: [65], how many valid cells have each class.
        positive_weight, dustbin_weight, focal_gamma: as in the loss.

    Returns:
        With all pixels of a cell alike, and with the best constant for each of the 64. Without focal weights these are
        entropies of the weighted class frequencies f: -f_d log f_d - (1 - f_d) log((1 - f_d) / 64), and
        -sum_k f_k log f_k (with focal weights that prediction is taken, which is near the best one).
    """
    weighted = np.where(np.arange(len(counts)) == DUSTBIN, dustbin_weight, positive_weight) * counts
    f = weighted / max(weighted.sum(), 1e-12)
    alike = np.where(np.arange(len(f)) == DUSTBIN, f[DUSTBIN], (1 - f[DUSTBIN]) / DUSTBIN)

    def loss(p: NDArray[np.floating]) -> float:
        used = f > 0
        return float(-(f[used] * (1 - p[used]) ** focal_gamma * np.log(p[used])).sum())

    if focal_gamma == 0:
        return loss(alike), loss(f)
    odds = np.linspace(-8, 8, 321)  # log-odds of the dustbin
    best = min(
        loss(np.where(np.arange(len(f)) == DUSTBIN, d, (1 - d) / DUSTBIN)) for d in (1 / (1 + np.exp(-odds))).tolist()
    )
    return best, min(best, loss(f))


def input_sensitivity_(case: Case) -> Finding:
    """Does the output depend on the input?"""
    if finding := unjudged("input_sensitivity", case):
        return finding
    seen = observe(case)
    value, count = seen.statistics["input_sensitivity"], len(seen.logits)
    if count < 4:  # a data set of a few samples to overfit: their mirror images make a batch of them
        image = seen.image.float()
        with torch.no_grad():
            logits = case.model(torch.cat([image, image.flip(3), image.flip(2), image.flip(2, 3)]))["logits"]
        value, count = input_sensitivity(logits.double().log_softmax(dim=1)), 4 * count
    evidence = (
        f"{value:.1%} of the variance of the log-probabilities is due to the input ({count} images; expected above "
        f"{HARDLY_USED:.0%}, healthy networks have 85 to 95 %)."
    )
    details = {"input_sensitivity": value, "images": count}
    if value >= HARDLY_USED:
        return Finding("input_sensitivity", Status.PASS, evidence, details=details)
    cause = (
        "The network puts out the same map whatever it sees: the signal is lost on the way (dead layers, a cached or "
        "detached tensor, weights or normalisation that have collapsed), and only biases are learnt."
    )
    remedy = "Look at `dead_relu`, `batchnorm` and `input`; then feed two different images and compare layer by layer."
    status = Status.FAIL if value < IGNORED else Status.WARN
    return Finding("input_sensitivity", status, evidence, cause, remedy, details)


def logit_scale(case: Case) -> Finding:
    """Do the cells' logits live on scales that exp() cannot hold?"""
    if finding := unjudged("logit_scale", case):
        return finding
    seen = observe(case)
    scale, largest = seen.statistics["cell_scale"], seen.statistics["logit_max"]
    overflow = seen.statistics["naive_exp_overflow"]
    naive = _naive_loss(seen)
    stable = float(detector_loss(seen.logits, seen.batch["target"], seen.batch["valid"])[0])
    half = float((seen.logits.amax(dim=1) > math.log(65504)).float().mean())
    spacing = 2.0 ** (math.floor(math.log2(max(largest, 1e-30))) - 7)  # of bf16, which keeps 8 bits of the mantissa
    details = {
        "cell_scale": scale,
        "logit_max": largest,
        "naive_exp_overflow": overflow,
        "naive_loss": naive if math.isfinite(naive) else None,
        "detector_loss": stable,
        "fp16_overflow": half,
        "bf16_spacing": spacing,
    }
    evidence = (
        f"The cells' logsumexp differ by up to {scale:.1f} and |logit| reaches {largest:.1f} (expected below {FAR:.0f} "
        f"and {LARGE:.0f}); a naive softmax, sum(exp(logit)), overflows or vanishes in {overflow:.0%} of the cells in "
        f"fp32 and overflows in {half:.0%} in fp16 (65504): the mean of -log p is {naive:.4g} that way, {stable:.4g} "
        f"by losses.detector_loss. bf16 has steps of {spacing:g} at the largest logit."
    )
    if scale < FAR and largest < LARGE and overflow == 0:
        return Finding("logit_scale", Status.PASS, evidence, details=details)
    cause = "The logits are huge everywhere: weights or features have grown (a rate too high, input not normalised)."
    if scale >= FAR:
        cause = (
            "Cells live on different scales: an offset common to a cell's 65 logits changes no probability, so nothing "
            "holds it, but exp() without subtracting each cell's own maximum overflows, and half precision cannot tell "
            "the logits of a cell apart."
        )
    remedy = (
        "Keep to losses.detector_loss and decode.logits_to_probability (logsumexp per cell, fp32); lower optimizer.lr, "
        "raise optimizer.weight_decay, and look for a missing normalisation before detector.logits."
    )
    status = Status.FAIL if overflow > 0 or scale > SCALE else Status.WARN
    return Finding("logit_scale", status, evidence, cause, remedy, details)


def _naive_loss(seen: Observation) -> float:
    """Mean of -log p over the valid cells, with softmax as on paper: exp(logit) over their sum, in fp32."""
    exponentials = seen.logits.float().exp()
    p = exponentials / exponentials.sum(dim=1, keepdim=True)
    losses = -p.gather(1, seen.batch["target"][:, None]).log()[:, 0]
    return float(losses[seen.batch["valid"]].mean())
