"""What pairs of the training data make of the descriptors, measured once, and the check of the pairs themselves."""

from __future__ import annotations

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
from superpoint.diagnostics.finding import Finding, Status
from superpoint.diagnostics.overfit.correspondences import NearestMatches, match_correspondences
from superpoint.geometry.homography import inverse, warp_image, warp_points
from superpoint.models.decode import interpolate_descriptors
from superpoint.training.objectives import NEAR, descriptor_statistics

MOST = 8  # pairs
PIXELS = MOST * 192 * 192  # of the first views of a batch: fewer pairs of larger views
NUMBERS = 20_000  # similarities of different places that are kept, at most
SHIFTED = 0.5  # pixels between a place and where the homography sends its counterpart: float32 errs by 0.001
# Median correlation of the views, one brought onto the other. Healthy .9 to 1; by a wrong homography .1 to .3.
ALIKE, UNLIKE = 0.35, 0.2


@dataclass(frozen=True)
class PairObservation:
    """Some pairs and their descriptors, from the network in evaluation mode, without gradients, on the CPU in fp32.

    Attributes:
        batch: see `WarpedPairs`, stacked.
        maps: descriptors [2 B, D, Hc, Wc], those of the first views first.
        norms: lengths of the descriptors of valid cells, [N]; 1 if all is right.
        forth, back: which places find their counterpart by the nearest descriptor, from a to b and from b to a.
        positive, negative: similarities of the same places, and of places more than NEAR px apart (at most NUMBERS).
        figures: what `descriptor_statistics` returns.
        chance: the matching accuracy of guessing.
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
        """Share of the numbers in the maps that are neither NaN nor infinite."""
        return float(self.maps.isfinite().float().mean())


def is_joint(case: Case) -> bool:
    """Whether descriptors are trained, on pairs that can be looked at."""
    return isinstance(case.config, SuperPointConfig) and isinstance(getattr(case.dataset, "pairs", None), WarpedPairs)


def sampled_pairs(case: Case) -> list[dict[str, Tensor]]:
    """Some pairs at the full strength of the curriculum, see `WarpedPairs`."""
    pairs, data = cast(SingleViews, case.dataset).pairs, case.config.data
    count = min(MOST, max(2, PIXELS // (data.height * data.width)))
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
    """Do both views show the same places where the homography and the sampled correspondences say so?"""
    shifts, straight, wrong = [], [], []
    for sample in sampled_pairs(case):
        matched = sample["matched"].numpy()
        a, b = (sample[f"correspondences_{name}"].numpy()[matched] for name in ("a", "b"))
        matrix = sample["h_a_b"].numpy().astype(np.float64)
        if len(a):
            shifts.append(float(np.median(np.linalg.norm(warp_points(a, matrix) - b, axis=1))))
        views = sample["image_a"][0].numpy(), sample["image_b"][0].numpy()
        straight.append(correlation(*views, matrix))
        turned = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]])
        wrong.append(max(correlation(*views, inverse(matrix)), correlation(*views, turned @ matrix @ turned)))
    shift = float(np.median(shifts)) if shifts else 0.0
    seen, other = float(np.median(straight)), float(np.median(wrong))
    details = {"shift": shift, "correlation": seen, "correlation_of_another": other, "pairs": len(straight)}
    evidence = (
        f"Places lie {shift:.2g} px from where the homography sends them (median of {len(straight)} pairs, expected "
        f"below {SHIFTED:g}); brought onto each other by it the views correlate {seen:.2f} (expected above "
        f"{ALIKE:g}; by its inverse, or with x and y exchanged, {other:.2f})."
    )
    if shift <= SHIFTED and seen > ALIKE:
        return Finding("pairs", Status.PASS, evidence, details=details)
    if shift > SHIFTED:
        cause = "The correspondences are not those of the homography: x and y exchanged, or only one of both scaled."
    elif other > seen:
        cause = "The homography goes the wrong way, from b to a, or has x and y exchanged."
    else:
        cause = "The views do not show the same thing: another image, a homography of other pixels, effects too strong."
    remedy = "Look at both views with their places drawn; bring image, points and homography through the same resize."
    certain = shift > SHIFTED or other > seen or seen < UNLIKE
    return Finding("pairs", Status.FAIL if certain else Status.WARN, evidence, cause, remedy, details)


def correlation(first: NDArray[np.uint8], second: NDArray[np.uint8], h_a_b: NDArray[np.float64]) -> float:
    """Pearson's coefficient of `second` and `first` brought onto it by `h_a_b`, where both are seen; 0 if nowhere.

    Of lightly blurred images, since both have noise of their own.
    """
    size = (second.shape[0], second.shape[1])
    ones = warp_image(np.full(first.shape, 255, np.uint8), h_a_b, size, cv2.BORDER_CONSTANT) == 255
    if ones.sum() < 64:
        return 0.0
    soft = np.asarray(cv2.GaussianBlur(first, (0, 0), 1.5), np.uint8)
    moved = warp_image(soft, h_a_b, size, cv2.BORDER_REFLECT)
    x, y = moved[ones].astype(np.float64), cv2.GaussianBlur(second, (0, 0), 1.5)[ones].astype(np.float64)
    spread = x.std() * y.std()
    return float(((x - x.mean()) * (y - y.mean())).mean() / spread) if spread > 1e-6 else 0.0
