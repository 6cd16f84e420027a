"""All figures of one image pair and one method, and their means over pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.evaluation.classical import suppress
from superpoint.evaluation.pairs import (
    area_under_curve,
    bootstrap_interval,
    corner_error,
    match_errors,
    matching_accuracy,
    matching_score,
    nearest_neighbour_precision,
)
from superpoint.evaluation.repeatability import repeatabilities
from superpoint.geometry.homography import Matrix
from superpoint.matching import (
    ESTIMATORS,
    Comparison,
    Homography,
    Matches,
    compare_descriptors,
    fit_homography,
    match_compared,
)

THRESHOLDS = tuple(range(1, 11))  # of the mean matching accuracy, px
CORNER_EPS = (1, 3, 5)
SHARES = (  # means over pairs of what is in each record, by name
    *("repeatability_3", "repeatability_1", "localisation", "nn_map", "matching_score"),
    *("matches", "points"),
)


class Described(NamedTuple):
    """Points float32 [N, 2] (x, y), strongest first, scores [N] and descriptors [N, D] of a view of (height, width)."""

    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    descriptors: NDArray[Any]
    size: tuple[int, int]


class Outcome(NamedTuple):
    """Descriptors compared, matches best first, and of each estimator one estimate an order of the matches."""

    compared: Comparison
    matches: Matches
    estimates: dict[str, list[Homography]]


@dataclass(frozen=True)
class PairRecord:
    """Figures of a pair; distances in pixels of view b, infinite where there is no estimate.

    repeatability_3, _1: share at that eps; NaN without points. localisation: px; NaN if no point is repeated.
    mma: share of matches within 1..10 px. errors: of the corners, by estimator, one an order of the matches.
    inliers: share of matches that agree with the estimate from the first order, by estimator.
    """

    method: str
    pair: str
    sequence: str
    change: str
    repeatability_3: float
    repeatability_1: float
    localisation: float
    nn_map: float
    matching_score: float
    mma: tuple[float, ...]
    errors: dict[str, tuple[float, ...]]
    inliers: dict[str, float]
    matches: int
    points: float  # mean of the two views

    def error(self, estimator: str = "ransac") -> float:
        """The median of the corner errors over the orders of the matches."""
        return float(np.median(self.errors[estimator]))

    def row(self) -> dict[str, Any]:
        """Flat, with finite numbers or None, for JSON and CSV."""
        content = asdict(self)
        content |= {f"{name}_error": self.error(name) for name in content.pop("errors")}
        content |= {f"{name}_inliers": value for name, value in content.pop("inliers").items()}
        content |= {f"mma_{eps}": value for eps, value in zip(THRESHOLDS, content.pop("mma"), strict=True)}
        return {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in content.items()
        }


def match_pair(a: Described, b: Described, config: EvaluatePairsConfig) -> Outcome:
    """Matches of two views and the homographies that `ESTIMATORS` find from them.

    The matches go in by score, best first, and then in `config.orders` - 1 others. OpenCV draws from a generator that
    always starts alike, so their order is its seed: over six orders of SIFT's and ORB's matches of 30 pairs the share
    of pairs within 1 px by RANSAC has a standard deviation of .03 to .05 whether 5,000 or 30,000 samples are allowed
    (.02 to .04 at 3 and 5 px); five times the samples cost five times the time and change the mean by less than .02.
    One pair of 30 is .033.
    """
    compared = compare_descriptors(a.descriptors, b.descriptors)
    floor = config.min_probability if config.matcher == "dual_softmax" else -1.0
    matches = match_compared(
        compared, config.matcher, ratio=config.ratio, temperature=config.temperature, min_score=floor
    )
    estimates: dict[str, list[Homography]] = {name: [] for name in ESTIMATORS}
    rng = np.random.default_rng(config.seed)
    count = len(matches.indices)
    for number in range(config.orders):
        order = rng.permutation(count) if number else np.arange(count)
        pairs = matches.indices[order]
        for name, found in estimates.items():
            estimate = fit_homography(
                a.points[pairs[:, 0]],
                b.points[pairs[:, 1]],
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
    method: str,
    pair: tuple[str, str, str],
    a: Described,
    b: Described,
    h_a_b: Matrix,
    outcome: Outcome,
    config: EvaluatePairsConfig,
    repeated: Mapping[str, float],
) -> PairRecord:
    """All figures of a pair.

    Args:
        pair: its name, sequence and change.
        repeated: from `measure_repeatability`, perhaps of views of another size.
    """
    pairs = outcome.matches.indices
    errors = match_errors(a.points[pairs[:, 0]], b.points[pairs[:, 1]], h_a_b)
    precision = nearest_neighbour_precision(a.points, b.points, outcome.compared, h_a_b, config.eps)
    estimates = outcome.estimates.items()
    return PairRecord(
        method,
        *pair,
        **repeated,
        nn_map=0.0 if np.isnan(precision) else precision,  # nothing that could be matched: the detector's failure
        matching_score=matching_score(a.points, b.points, pairs, h_a_b, a.size, b.size, config.eps),
        mma=tuple(map(float, matching_accuracy(errors, THRESHOLDS))),
        errors={name: tuple(corner_error(one.matrix, h_a_b, a.size) for one in each) for name, each in estimates},
        inliers={name: float(each[0].inliers.mean()) if len(pairs) else 0.0 for name, each in estimates},
        matches=len(pairs),
        points=(len(a.points) + len(b.points)) / 2,
    )


def measure_repeatability(a: Described, b: Described, h_a_b: Matrix, config: EvaluatePairsConfig) -> dict[str, float]:
    """Repeatability at 3 and 1 px and localisation error, after the same suppression for every method."""
    first, second = (suppress(each.points, each.scores, config.repeatability_nms)[0] for each in (a, b))
    wide, narrow = repeatabilities(first, second, h_a_b, a.size, b.size, [3.0, 1.0], config.repeatability_keypoints)
    return {"repeatability_3": wide.share, "repeatability_1": narrow.share, "localisation": wide.error}


def figures(records: Sequence[PairRecord]) -> dict[str, NDArray[np.float64]]:
    """Each figure of a table as one value a pair, so that the table's figure is their mean (NaN left out)."""
    values = {name: np.array([getattr(record, name) for record in records], np.float64) for name in SHARES}
    for name in ESTIMATORS:
        values[f"{name}_inliers"] = np.array([record.inliers[name] for record in records], np.float64)
        errors = [record.errors[name] for record in records]
        for eps in CORNER_EPS:
            values[f"{name}_{eps}"] = np.array([np.mean(np.array(each) <= eps) for each in errors])
            values[f"{name}_auc_{eps}"] = np.array([area_under_curve(each, eps) for each in errors])
    for index, eps in enumerate(THRESHOLDS):
        values[f"mma_{eps}"] = np.array([record.mma[index] for record in records])
    return values


def summarise(records: Sequence[PairRecord], *, intervals: bool = True, seed: int = 0) -> dict[str, Any]:
    """Figure -> {"value", "low", "high"}: the mean over pairs and its 95 % bootstrap interval; None where undefined."""
    table: dict[str, Any] = {}
    for name, values in figures(records).items():
        known = values[~np.isnan(values)]
        low, high = bootstrap_interval(values, seed=seed) if intervals and known.size else (np.nan, np.nan)
        content = {"value": known.mean() if known.size else np.nan, "low": low, "high": high}
        table[name] = {key: float(each) if np.isfinite(each) else None for key, each in content.items()}
    return table


def groups(records: Iterable[PairRecord]) -> list[tuple[str, str, list[PairRecord]]]:
    """(kind, name, records): all pairs; each change, if there are several; each sequence."""
    listed = list(records)
    found = [("all", "all", listed)]
    for kind in ("change", "sequence"):
        names = list(dict.fromkeys(getattr(record, kind) for record in listed))
        if kind == "sequence" or len(names) > 1:
            found += [(kind, name, [record for record in listed if getattr(record, kind) == name]) for name in names]
    return found
