"""All figures of one image pair and one extractor, and their means over pairs."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.pairs import ViewPair
from superpoint.evaluation.classical import suppress
from superpoint.evaluation.pairs import (
    Repeatability,
    area_under_curve,
    bootstrap_interval,
    corner_error,
    match_errors,
    matching_accuracy,
    matching_score,
    nearest_neighbour_precision,
    repeatability,
)
from superpoint.features import Features
from superpoint.geometry.homography import Matrix
from superpoint.matching import (
    ESTIMATORS,
    MATCHERS,
    Comparison,
    Homography,
    Matches,
    compare_descriptors,
    fit_homography,
    match,
    match_compared,
)

THRESHOLDS = tuple(range(1, 11))  # of the mean matching accuracy, px
CORNER_EPS = (1, 3, 5)
SHARES = (  # means over pairs of what is in each record, by name
    *("repeatability_3", "repeatability_1", "localisation", "nn_map", "matching_score"),
    *("matches", "points"),
)


class Outcome(NamedTuple):
    """Compared descriptors (None without), matches best first, and estimates per estimator, one per order."""

    compared: Comparison | None
    matches: Matches
    estimates: dict[str, list[Homography]]


@dataclass(frozen=True)
class PairRecord:
    """Figures of a pair; distances in pixels of view b, infinite where there is no estimate.

    repeatability_3, _1: share at that eps; NaN without keypoints. localisation, _1: px, of keypoints repeated within 3
    and 1 px; NaN if there are none. counted: keypoints measured for these, mean of the two views.
    mma: share of matches within 1..10 px. errors: of the corners, per estimator one per order of the matches.
    inliers: share of matches that agree with the estimate from the first order, per estimator.
    """

    extractor: str
    pair: str
    sequence: str
    change: str
    repeatability_3: float
    repeatability_1: float
    localisation: float
    localisation_1: float
    counted: float
    nn_map: float
    matching_score: float
    mma: tuple[float, ...]
    errors: dict[str, tuple[float, ...]]
    inliers: dict[str, float]
    matches: int
    points: float  # mean of the two views

    def error(self, estimator: str = "ransac") -> float:
        """Return the median of the corner errors over the orders of the matches."""
        return float(np.median(self.errors[estimator]))

    def row(self) -> dict[str, Any]:
        """Return the figures without nesting, finite or None, for JSON and CSV."""
        content = asdict(self)
        content |= {f"{name}_error": self.error(name) for name in content.pop("errors")}
        content |= {f"{name}_inliers": value for name, value in content.pop("inliers").items()}
        content |= {f"mma_{eps}": value for eps, value in zip(THRESHOLDS, content.pop("mma"), strict=True)}
        return {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in content.items()
        }


def match_pair(
    a: Features, b: Features, config: EvaluatePairsConfig, estimators: Sequence[str] = ESTIMATORS
) -> Outcome:
    """Match two views and estimate their homography; views without descriptors have no matches.

    The matches go in by score, best first, and then in `config.orders` - 1 random orders: OpenCV's samples depend on
    their order, and with it the share of pairs within 1 px by RANSAC varies by .03 to .05 (standard deviation).
    """
    compared, matches = None, Matches(np.zeros((0, 2), np.int64), [])
    if a.descriptors is not None and b.descriptors is not None:
        compared = compare_descriptors(a, b)
        floor = config.min_probability if config.matcher == "dual_softmax" else -1.0
        options = {"ratio": config.ratio, "temperature": config.temperature, "min_score": floor}
        if config.matcher in MATCHERS:
            matches = match_compared(compared, config.matcher, **options)
        else:
            matches = match(a, b, config.matcher)
    estimates: dict[str, list[Homography]] = {name: [] for name in estimators}
    rng = np.random.default_rng(config.seed)
    count = len(matches.indices)
    for number in range(config.orders):
        order = rng.permutation(count) if number else np.arange(count)
        pairs = matches.indices[order]
        for name, found in estimates.items():
            estimate = fit_homography(
                a.keypoints[pairs[:, 0]],
                b.keypoints[pairs[:, 1]],
                name,
                threshold=getattr(config, name),
                iterations=config.gcransac_iterations if name == "gcransac" else config.iterations,
                confidence=config.confidence,
            )
            inliers = np.zeros(count, bool)
            inliers[order] = estimate.inliers
            found.append(Homography(estimate.matrix, inliers))
    return Outcome(compared, matches, estimates)


def measure_pair(
    extractor: str,
    views: ViewPair,
    a: Features,
    b: Features,
    config: EvaluatePairsConfig,
    *,
    estimators: Sequence[str] = ESTIMATORS,
    detected: tuple[Features, Features, Matrix] | None = None,
) -> PairRecord:
    """Measure the features `a` and `b` that an extractor found in a pair of views.

    Args:
        estimators: of homographies.
        detected: features of views of another size and their homography, to measure repeatability on.
    """
    compared, matches, estimates = match_pair(a, b, config, estimators)
    pairs, h_a_b = matches.indices, views.h_a_b
    errors = match_errors(a.keypoints[pairs[:, 0]], b.keypoints[pairs[:, 1]], h_a_b)
    precision = np.nan if compared is None else nearest_neighbour_precision(compared, h_a_b, config.eps)
    wide, narrow = measure_repeatability(*(detected or (a, b, h_a_b)), config)
    size = views.image_a.shape[:2]
    return PairRecord(
        extractor,
        views.name,
        views.sequence,
        views.change,
        repeatability_3=wide.share,
        repeatability_1=narrow.share,
        localisation=wide.error,
        localisation_1=narrow.error,
        counted=wide.counted,
        nn_map=0.0 if np.isnan(precision) else precision,  # nothing that could be matched: the detector's failure
        matching_score=matching_score(a, b, pairs, h_a_b, config.eps),
        mma=tuple(map(float, matching_accuracy(errors, THRESHOLDS))),
        errors={k: tuple(corner_error(one.matrix, h_a_b, size) for one in each) for k, each in estimates.items()},
        inliers={k: float(each[0].inliers.mean()) if len(pairs) else 0.0 for k, each in estimates.items()},
        matches=len(pairs),
        points=(len(a) + len(b)) / 2,
    )


def measure_repeatability(a: Features, b: Features, h_a_b: Matrix, config: EvaluatePairsConfig) -> list[Repeatability]:
    """Return repeatability at 3 and at 1 px, after the same suppression (0 = none) for every extractor."""
    if config.repeatability_nms:
        a, b = (
            replace(each, keypoints=points, scores=scores, descriptors=None)
            for each in (a, b)
            for points, scores in [suppress(each.keypoints, each.scores, config.repeatability_nms)]
        )
    return repeatability(a, b, h_a_b, [3.0, 1.0], config.repeatability_keypoints)


def figures(records: Sequence[PairRecord]) -> dict[str, NDArray[np.float64]]:
    """Return each figure of a table as one value per pair: the table's figure is their mean (NaN left out)."""
    values = {name: np.array([getattr(record, name) for record in records], np.float64) for name in SHARES}
    for name in records[0].errors:
        values[f"{name}_inliers"] = np.array([record.inliers[name] for record in records], np.float64)
        errors = [record.errors[name] for record in records]
        for eps in CORNER_EPS:
            values[f"{name}_{eps}"] = np.array([np.mean(np.array(each) <= eps) for each in errors])
            values[f"{name}_auc_{eps}"] = np.array([area_under_curve(each, eps) for each in errors])
    for index, eps in enumerate(THRESHOLDS):
        values[f"mma_{eps}"] = np.array([record.mma[index] for record in records])
    return values


def summarise(records: Sequence[PairRecord], *, intervals: bool = True, seed: int = 0) -> dict[str, Any]:
    """Return figure -> {"value", "low", "high"}: mean over pairs, 95 % bootstrap interval; None where undefined."""
    table: dict[str, Any] = {}
    for name, values in figures(records).items():
        known = values[~np.isnan(values)]
        low, high = bootstrap_interval(values, seed=seed) if intervals and known.size else (np.nan, np.nan)
        content = {"value": known.mean() if known.size else np.nan, "low": low, "high": high}
        table[name] = {key: float(each) if np.isfinite(each) else None for key, each in content.items()}
    return table


def groups(records: Iterable[PairRecord]) -> list[tuple[str, str, list[PairRecord]]]:
    """Return (kind, name, records): all pairs; each change, if there are several; each sequence."""
    listed = list(records)
    found = [("all", "all", listed)]
    for kind in ("change", "sequence"):
        names = list(dict.fromkeys(getattr(record, kind) for record in listed))
        if kind == "sequence" or len(names) > 1:
            found += [(kind, name, [record for record in listed if getattr(record, kind) == name]) for name in names]
    return found
