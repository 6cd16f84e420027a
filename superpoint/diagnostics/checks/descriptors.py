"""Checks of joint runs: pairs and descriptors."""

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from superpoint.config import SuperPointConfig
from superpoint.data.warped_pairs import SingleViews, WarpedPairs
from superpoint.diagnostics.case import Case, kept
from superpoint.diagnostics.checks.observation import alarm, not_finite
from superpoint.diagnostics.finding import Finding, Status
from superpoint.diagnostics.overfit.correspondences import NearestMatches, match_correspondences
from superpoint.geometry.homography import inverse, warp_image, warp_points
from superpoint.models.decode import interpolate_descriptors
from superpoint.training.objectives import NEAR, descriptor_statistics
from superpoint.visualize import to_gray

MAX_PAIRS = 8  # pairs
PIXELS = MAX_PAIRS * 192 * 192  # of the first views of a batch: fewer pairs of larger views
NUMBERS = 20_000  # similarities of different places that are kept, at most
SHIFTED = 0.5  # pixels between a place and where the homography sends its counterpart: float32 errs by 0.001
# Median correlation of the views, one brought onto the other. Healthy .9 to 1; by a wrong homography .1 to .3.
ALIKE, UNLIKE = 0.35, 0.2
LENGTH = 0.02  # by which the length of a descriptor may differ from 1; bf16 rounds by 0.004
# Mean cosine of descriptors of different images. Healthy 0 to .1 (dual softmax, 500 steps: .02).
COLLAPSED, NEARLY = 0.9, 0.6
# Share of (same place, other place) whose similarities are in the right order; .5 = chance. Healthy .99.
CHANCE, WEAK = 0.7, 0.9
# Matching accuracy over that of guessing (1.2 % of 192 places; healthy .84 after 500 steps).
GUESSING, POOR = 2.0, 5.0
# Share of the variance of the descriptors that their cell explains whatever the image shows. Healthy .02.
PATTERN, FAINT = 0.6, 0.35


@dataclass(frozen=True)
class PairObservation:
    """Some pairs and their descriptors, from the network in evaluation mode, on the CPU in fp32.

    Attributes:
        batch: see `WarpedPairs`, stacked.
        maps: descriptors [2 B, D, Hc, Wc], first views first.
        norms: lengths of the descriptors of valid cells, [N].
        forth, back: whether the nearest descriptor is the counterpart, from a to b and from b to a.
        positive, negative: similarities of correspondences, and of cells more than NEAR px apart (at most NUMBERS).
        figures: see `descriptor_statistics`.
        chance: matching accuracy of guessing.
    """

    batch: dict[str, Tensor]
    maps: Tensor
    norms: Tensor
    forth: NearestMatches
    back: NearestMatches
    positive: NDArray[np.float32]
    negative: NDArray[np.float32]
    figures: dict[str, float]
    chance: float

    @property
    def finite(self) -> float:
        return float(self.maps.isfinite().float().mean())


def is_joint(case: Case) -> bool:
    """Return whether descriptors are trained, on pairs that can be looked at."""
    return isinstance(case.config, SuperPointConfig) and isinstance(getattr(case.dataset, "pairs", None), WarpedPairs)


def sampled_pairs(case: Case) -> list[dict[str, Tensor]]:
    """Return some pairs at the full strength of the curriculum, see `WarpedPairs`."""
    pairs, data = cast(SingleViews, case.dataset).pairs, case.config.data
    count = min(MAX_PAIRS, max(2, PIXELS // (data.height * data.width)))
    count, first = (min(count, data.overfit), 0) if data.overfit else (count, data.curriculum)
    return [pairs[first + index] for index in range(count)]


@kept
def observe_pairs(case: Case) -> PairObservation:
    """Return the observation of a joint case."""
    batch = default_collate(sampled_pairs(case))
    images = torch.cat([batch["image_a"], batch["image_b"]]).float() / 255
    with torch.no_grad():
        maps = case.model(images)["descriptors"].float()
    valid = torch.cat([batch["valid_a"], batch["valid_b"]])
    norms = maps.norm(dim=1)[valid]
    points, matched = (batch["correspondences_a"], batch["correspondences_b"]), batch["matched"]
    first, second = (interpolate_descriptors(each, xy) for each, xy in zip(maps.chunk(2), points, strict=True))
    forth, back = match_correspondences(first, second, *points, matched)
    similarity = first @ second.mT
    near = torch.stack([torch.cdist(xy.float(), xy.float()) <= NEAR for xy in points])
    wrong = matched[:, :, None] & matched[:, None, :] & ~near.any(dim=0)
    negative = similarity[wrong]
    negative = negative[:: max(1, len(negative) // NUMBERS)]
    offered = (matched[:, :, None] & matched[:, None, :]).sum(dim=2).clamp_min(1)
    guess = ((near[1] & matched[:, None, :]).sum(dim=2) / offered)[matched]
    return PairObservation(
        batch,
        maps,
        norms,
        forth,
        back,
        similarity.diagonal(dim1=1, dim2=2)[matched].numpy(),
        negative.numpy(),
        {key: float(value) for key, value in descriptor_statistics(first, second, *points, matched).items()},
        float(guess.mean()) if len(guess) else 0.0,
    )


def pairs(case: Case) -> Finding:
    """Do the sampled correspondences fit the homography, and do both views show the same there?"""
    shifts, straight, wrong = [], [], []
    for sample in sampled_pairs(case):
        matched = sample["matched"].numpy()
        a, b = (sample[f"correspondences_{name}"].numpy()[matched] for name in ("a", "b"))
        matrix = sample["h_a_b"].numpy().astype(np.float64)
        if len(a):
            shifts.append(float(np.median(np.linalg.norm(warp_points(a, matrix) - b, axis=1))))
        first, second = (to_gray(sample[f"image_{name}"].permute(1, 2, 0).numpy()) for name in "ab")
        straight.append(correlation(first, second, matrix))
        turned = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]])
        wrong.append(
            max(correlation(first, second, inverse(matrix)), correlation(first, second, turned @ matrix @ turned))
        )
    shift = float(np.median(shifts)) if shifts else 0.0
    seen, other = float(np.median(straight)), float(np.median(wrong))
    evidence = (
        f"Correspondences lie {shift:.2g} px from where the homography sends them (median of {len(straight)} pairs, "
        f"expected below {SHIFTED:g}); brought onto each other by it the views correlate {seen:.2f} (expected above "
        f"{ALIKE:g}; by its inverse, or with x and y exchanged, {other:.2f})."
    )
    if shift <= SHIFTED and seen > ALIKE:
        return Finding("pairs", Status.PASS, evidence)
    if shift > SHIFTED:
        cause = "The correspondences are not those of the homography: x and y exchanged, or only one of both scaled."
    elif other > max(seen, UNLIKE):
        cause = "The homography goes the wrong way, from b to a, or has x and y exchanged."
    else:
        cause = "The views do not show the same thing: another image, a homography of other pixels, effects too strong."
    remedy = "Draw the correspondences on both views; bring image, points and homography through the same resize."
    certain = shift > SHIFTED or other > seen or seen < UNLIKE
    return Finding("pairs", Status.FAIL if certain else Status.WARN, evidence, cause, remedy)


def correlation(first: NDArray[np.uint8], second: NDArray[np.uint8], h_a_b: NDArray[np.float64]) -> float:
    """Return Pearson's coefficient of the blurred views in the frame of `second`, where both are seen; else 0."""
    size = (second.shape[0], second.shape[1])
    ones = warp_image(np.full(first.shape, 255, np.uint8), h_a_b, size, cv2.BORDER_CONSTANT) == 255
    if ones.sum() < 64:
        return 0.0
    soft = np.asarray(cv2.GaussianBlur(first, (0, 0), 1.5), np.uint8)
    moved = warp_image(soft, h_a_b, size, cv2.BORDER_REFLECT)
    x, y = moved[ones].astype(np.float64), cv2.GaussianBlur(second, (0, 0), 1.5)[ones].astype(np.float64)
    spread = x.std() * y.std()
    return float(((x - x.mean()) * (y - y.mean())).mean() / spread) if spread > 1e-6 else 0.0


def descriptor_values(case: Case) -> Finding:
    """Are all descriptors finite, and of length 1?"""
    seen, check = observe_pairs(case), "descriptor_values"
    if seen.finite < 1:
        evidence = f"{1 - seen.finite:.1%} of the values of the descriptor maps are NaN or infinite."
        cause = "The descriptor head, or what feeds it, is broken: a run that has blown up, or a division by zero."
        remedy = "See what `nonfinite` and `gradient_jump` say; divide by max(norm, eps), not by the norm."
        return Finding(check, Status.FAIL, evidence, cause, remedy)
    zero = float((seen.norms < 0.5).float().mean())
    off = float(((seen.norms - 1).abs() > LENGTH).float().mean())
    middle = float(seen.norms.median())
    evidence = (
        f"{off:.1%} of {len(seen.norms)} descriptors are not of length 1 (off by more than {LENGTH:g}), {zero:.1%} are "
        f"nearly zero; median length {middle:.3f}."
    )
    if off == 0:
        return Finding(check, Status.PASS, evidence)
    cause = "The descriptors are not normalised: their products are no cosines, so margins and temperature are wrong."
    remedy = "Divide each descriptor by its length (dimension 1 of [B, D, H / 8, W / 8], not the last one)."
    if zero > 0:
        cause = "Zero vectors: the head puts out nothing there (a ReLU at its end, dead channels), which no norm mends."
        remedy = "End the head with a plain 1x1 convolution; see `dead_relu`; lower optimizer.lr if it died."
    return Finding(check, Status.FAIL, evidence, cause, remedy)


def descriptor_collapse(case: Case) -> Finding:
    """Are the descriptors of different images different?"""
    check = "descriptor_collapse"
    if finding := _unjudged(check, case):
        return finding
    seen = observe_pairs(case)
    value, what = seen.figures["collapse"], "different images"
    if len(seen.maps) == 2 and len(seen.negative):
        value, what = float(seen.negative.mean()), "different points of an image"
    evidence = f"Mean cosine of descriptors of {what} {value:.2f} (expected below {NEARLY:g}; 1 = all are the same)."
    if value <= NEARLY:
        return Finding(check, Status.PASS, evidence)
    cause = "Descriptors have a large part in common; what tells points apart is what is left."
    if value > COLLAPSED:
        cause = "Collapse: every point gets the same descriptor, which a loss without enough negatives rewards."
    remedy = "Use descriptor.name=dual_softmax (or other weights and margins of the hinges); lower optimizer.lr."
    return _alarm(check, case, value > COLLAPSED, evidence, cause, remedy)


def descriptor_matching(case: Case) -> Finding:
    """Are correspondences found more often than by chance?"""
    check = "descriptor_matching"
    if finding := _unjudged(check, case):
        return finding
    seen = observe_pairs(case)
    accuracy, chance = seen.figures["matching_accuracy"], seen.chance
    needed = min(POOR * chance, 0.9)  # of a few correspondences guessing is right often
    same, other = seen.figures["positive_similarity"], seen.figures["negative_similarity"]
    ordered = ranked(seen.positive, seen.negative)
    evidence = (
        f"{accuracy:.1%} of the correspondences of training pairs are found by the nearest descriptor, guessing "
        f"{chance:.1%} (expected above {needed:.1%}); mean cosine of two views of a point {same:.2f}, of different "
        f"points {other:.2f}, in the right order {ordered:.1%} of the time (chance 50 %, expected above {WEAK:.0%})."
    )
    if accuracy > needed and ordered > WEAK:
        return Finding(check, Status.PASS, evidence)
    low = accuracy <= GUESSING * max(chance, 1e-6) or ordered <= CHANCE
    cause = "Matching is poor: views of a point are hardly more alike than different points."
    if low:
        cause = "Matching is at chance: the descriptors carry no information, or not about where the loss looks for it."
    remedy = "Sample descriptors at (x + 0.5) / 8 - 0.5 cells, x along the width; see `pairs`; `superpoint overfit`."
    return _alarm(check, case, low, evidence, cause, remedy)


def descriptor_pattern(case: Case) -> Finding:
    """Does a descriptor depend on what the image shows, or on the cell it is in?"""
    check = "descriptor_pattern"
    if finding := _unjudged(check, case):
        return finding
    maps = observe_pairs(case).maps
    if len(maps) < 4:
        text = "Too few different images to tell what a cell has in common in all of them."
        return Finding(check, Status.PASS, text)
    share = position_share(maps)
    evidence = (
        f"{share:.0%} of the variance of the descriptors follows from their cell alone, whatever the image shows "
        f"(expected below {FAINT:.0%})."
    )
    if share <= FAINT:
        return Finding(check, Status.PASS, evidence)
    cause = "The map has a pattern of its own: points are told apart by where they lie (padding, coordinates)."
    remedy = "Warp both views (data.homography.enable=true) and crop at random; see `input_sensitivity`."
    return _alarm(check, case, share > PATTERN, evidence, cause, remedy)


def ranked(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> float:
    """Return the probability that a value of `positive` exceeds one of `negative` (area under the ROC curve).

    Ties count half; without either it is 1.
    """
    if not len(positive) or not len(negative):
        return 1.0
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.mean() / (2 * len(ordered)))


def position_share(maps: Tensor) -> float:
    """Return the share 0..1 of the variance of descriptor maps [B, D, Hc, Wc] that the cell explains.

    The mean over B images holds 1 / B of the rest, which is taken off.
    """
    count = len(maps)
    total = (maps - maps.mean(dim=(0, 2, 3), keepdim=True)).square().mean(dim=(0, 2, 3)).sum()
    mean = maps.mean(dim=0)
    between = (mean - mean.mean(dim=(1, 2), keepdim=True)).square().mean(dim=(1, 2)).sum()
    if float(total) < 1e-12:
        return 0.0
    share = (between / total - 1 / count) / (1 - 1 / count)
    return float(torch.clamp(share, 0, 1))


def _alarm(check: str, case: Case, severe: bool, evidence: str, cause: str, remedy: str) -> Finding:
    """Return `alarm`; without a history, whose descriptors may not be trained, a warning."""
    return alarm(check, case, severe and bool(case.history), evidence, cause, remedy)


def _unjudged(check: str, case: Case) -> Finding | None:
    """Return the finding that nothing can be said, if a descriptor is not finite."""
    finite = observe_pairs(case).finite
    return not_finite(check, finite, "values of the descriptor maps", "`descriptor_values` and `nonfinite`")
