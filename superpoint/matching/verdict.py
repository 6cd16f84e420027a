"""Do two images show the same thing?"""

import math

from superpoint.errors import check_number, check_one_of
from superpoint.features import Features
from superpoint.matching.homography import ESTIMATORS, MIN_MATCHES, THRESHOLDS, Homography

# log10 of the number of false alarms (`verdict`) below which two images show the same thing. Chosen on 240 photographs;
# on 240 others, with superpoint-lite: unrelated pairs 0 % "match", related ones 100 %, strongly changed ones 97.5 %
# (docs/evaluation.md, benchmarks/verdicts.py). Unrelated pairs came as low as -2.9.
MATCH = -4.0


def verdict(
    features1: Features, homography: Homography, method: str = "gcransac", *, threshold: float | None = None
) -> str:
    """Tell whether two images show the same thing, by how many of their matches agree with the homography.

    Of M matches, k agree. Were all matches random, how many homographies through four of them would find as many?

        NFA = (M - 4) C(M, k) C(k, 4) p^(k - 4),  p = pi threshold^2 / (width height)

    (number of false alarms; Moulon, Monasse and Marlet 2012, "Adaptive structure from motion with a contrario model
    estimation"). On a scene far from a plane, seen from two places, few matches may agree.

    Args:
        features1: of the second image, with its size; the threshold counts in its pixels.
        homography: of `estimate_homography`.
        method, threshold: as given to `estimate_homography`.

    Returns: "match" if log10(NFA) < MATCH, else "no match".
    Raises: UserError as `fit_homography`; ValueError for features without the size of their image.
    """
    check_one_of("method", method, ESTIMATORS)
    check_number("threshold", threshold, 0, above=True)
    width, height = features1.image_size
    if not width:
        raise ValueError("features1: found no image_size, expected (width, height)")
    matches, agreeing = len(homography.inliers), int(homography.inliers.sum())
    if homography.matrix is None or agreeing <= MIN_MATCHES:
        return "no match"
    radius = THRESHOLDS[method] if threshold is None else threshold
    chance = min(1.0, math.pi * radius**2 / (width * height))
    alarms = math.log(matches - MIN_MATCHES) + _log_choose(matches, agreeing) + _log_choose(agreeing, MIN_MATCHES)
    alarms += (agreeing - MIN_MATCHES) * math.log(chance)
    return "match" if alarms < MATCH * math.log(10) else "no match"


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
