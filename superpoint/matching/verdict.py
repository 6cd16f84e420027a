"""Which geometry explains the matches of two images, and do the images show the same thing?"""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from numpy.typing import ArrayLike

from superpoint.errors import UserError, check_one_of
from superpoint.features import Features
from superpoint.matching.homography import MIN_MATCHES, THRESHOLDS, Homography, check_estimator, estimate_homography
from superpoint.matching.matches import Matches
from superpoint.matching.two_view import SAMPLES, Essential, Fundamental, estimate_essential, estimate_fundamental

Model: TypeAlias = Homography | Fundamental | Essential

MODEL_KINDS = ("auto", "homography", "fundamental", "essential")
# log10 of the number of false alarms (`false_alarms`) below which two images show the same thing. Chosen on 240
# photographs (benchmarks/verdicts.py), of which unrelated pairs came as low as -2.9; docs/evaluation.md has others.
MATCH = -4.0
# A fundamental or essential matrix has to be better by so much: keypoints in clusters or in rows are near a line more
# often than the formula's, which lie anywhere. With 60 to 70 wrong matches in small images it came as low as -5.4.
EPIPOLAR = -6.0


class Explanation(NamedTuple):
    """The geometry that explains the matches best: its kind, itself, and log10 of false alarms by kind looked at."""

    kind: str
    model: Model
    evidence: dict[str, float]

    def why(self) -> str:
        """Return one sentence that says why this kind."""
        if len(self.evidence) == 1:
            return f"{self.kind}, as asked for"
        if math.isinf(self.evidence[self.kind]):
            return "neither kind: too few matches agree with one"
        told = ", ".join(f"{kind} 10^{value:.0f}" for kind, value in self.evidence.items())
        doubt = "" if self.evidence[self.kind] < _limit(self.model) else ", though chance explains it too"
        return f"{self.kind}, which has the stronger evidence{doubt} (as good by chance: {told})"


def explain(
    features0: Features,
    features1: Features,
    matches: Matches,
    kind: str = "auto",
    method: str = "gcransac",
    *,
    threshold: float | None = None,
    intrinsics: Sequence[ArrayLike] | None = None,
    homography: Homography | None = None,
) -> Explanation:
    """Estimate the geometry between two images: a kind of it, or the one with the stronger evidence.

    Args:
        kind: "homography", "fundamental", "essential"; "auto" compares the homography with the fundamental matrix, or
            with the essential one if there are `intrinsics`, by `false_alarms`: matches of a plane agree with both,
            but chance agrees much less often with a homography. Either matrix has to be better than it by 10^6.
        method, threshold: as of `fit_homography`.
        intrinsics: K [3, 3] of both cameras.
        homography: one that was estimated already.

    Raises: UserError for "essential" without intrinsics, or as the estimators.
    """
    check_one_of("kind", kind, MODEL_KINDS)
    if kind == "essential" and intrinsics is None:
        raise UserError("model kind: found 'essential' without intrinsics, expected those of both cameras")
    models: dict[str, Model] = {}
    if kind in ("auto", "homography"):
        models["homography"] = homography or estimate_homography(
            features0, features1, matches, method, threshold=threshold
        )
    if kind == "fundamental" or (kind == "auto" and intrinsics is None):
        models["fundamental"] = estimate_fundamental(features0, features1, matches, method, threshold=threshold)
    elif kind != "homography" and intrinsics is not None:
        models["essential"] = estimate_essential(features0, features1, matches, intrinsics, method, threshold=threshold)
    evidence = {name: false_alarms(features1, each, method, threshold=threshold) for name, each in models.items()}
    best = min(evidence, key=lambda name: evidence[name] - _limit(models[name]))
    return Explanation(best, models[best], evidence)


def false_alarms(
    features1: Features, model: Model, method: str = "gcransac", *, threshold: float | None = None
) -> float:
    """Return log10 of the number of false alarms: how many models would random matches agree with as well?

    Of M matches, k agree with a model made from n of them, each by chance with probability p:

        NFA = m (M - n) C(M, k) C(k, n) p^(k - n)

    with (n, m) = (4, 1), (7, 3), (5, 10) for homography, fundamental and essential matrix, m being the solutions of a
    sample. p is the share of the second image within the threshold of a point, pi t^2 / (w h), or of a line across it,
    2 t sqrt(w^2 + h^2) / (w h). Source: Moulon, Monasse and Marlet 2012, "Adaptive structure from motion with a
    contrario model estimation".

    Args:
        features1: of the second image, with its size; the threshold counts in its pixels.
        method, threshold: as given to the estimator.

    Raises: UserError as `fit_homography`; ValueError for features without the size of their image.
    """
    check_estimator(method, threshold)
    width, height = features1.image_size
    if not width:
        raise ValueError("features1: found no image_size, expected (width, height)")
    radius = THRESHOLDS[method] if threshold is None else threshold
    if isinstance(model, Homography):
        sample, solutions, area = MIN_MATCHES, 1, math.pi * radius**2
    else:
        sample, solutions = (
            (SAMPLES["fundamental"], 3) if isinstance(model, Fundamental) else (SAMPLES["essential"], 10)
        )
        area = 2 * radius * math.hypot(width, height)
    matches, agreeing = len(model.inliers), int(model.inliers.sum())
    if model.matrix is None or agreeing <= sample:
        return math.inf
    chance = min(1.0, area / (width * height))
    alarms = math.log(solutions * (matches - sample)) + _log_choose(matches, agreeing) + _log_choose(agreeing, sample)
    return (alarms + (agreeing - sample) * math.log(chance)) / math.log(10)


def verdict(features1: Features, model: Model, method: str = "gcransac", *, threshold: float | None = None) -> str:
    """Tell whether two images show the same thing, by how many of their matches agree with a geometry.

    On a scene far from a plane, seen from two places, few matches may agree with a homography; see `explain`.

    Args, raises: as `false_alarms`.
    Returns: "match" if log10(NFA) < MATCH, of a fundamental or essential matrix MATCH + EPIPOLAR; else "no match".
    """
    return "match" if false_alarms(features1, model, method, threshold=threshold) < _limit(model) else "no match"


def _limit(model: Model) -> float:
    return MATCH if isinstance(model, Homography) else MATCH + EPIPOLAR


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
