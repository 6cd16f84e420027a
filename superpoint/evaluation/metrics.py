"""Detection metrics on plain arrays: matching, precision-recall, average precision, localisation error.

Points are [N, 2] (x, y) in pixels. Average precision is the area under the monotone precision envelope, as in PASCAL
VOC 2010 and the published SuperPoint notebook; detections with equal scores form one step of the curve. Images without
truth are pooled like the others: all their detections are false positives.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Matches(NamedTuple):
    """Outcome of matching one image's detections, strongest first."""

    scores: NDArray[np.float64]  # [N] descending
    true_positive: NDArray[np.bool_]  # [N]
    distance: NDArray[np.float64]  # [N] pixels to the matched truth, NaN for false positives
    truth: int  # number of ground-truth points


class PrecisionRecall(NamedTuple):
    """A pooled precision-recall curve, one entry for each distinct score, from the strictest threshold on."""

    recall: NDArray[np.float64]  # [K] non-decreasing; NaN without truth
    precision: NDArray[np.float64]  # [K] raw, not monotone
    threshold: NDArray[np.float64]  # [K] strictly descending: detections with score >= threshold are counted
    truth: int  # number of ground-truth points


class OperatingPoint(NamedTuple):
    """One threshold on a curve."""

    threshold: float
    precision: float
    recall: float
    f1: float


def _points(name: str, value: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(value, dtype=np.float64)
    if array.size == 0:
        return array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"{name}: found shape {list(array.shape)}, expected [N, 2]")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: found coordinates that are not finite")
    return array


def match_detections(points: ArrayLike, scores: ArrayLike, truth: ArrayLike, eps: float) -> Matches:
    """Match detections to ground truth: greedily by score, each to the nearest free truth at a distance <= `eps`.

    Args:
        points: [N, 2] (x, y), any float or integer type.
        scores: [N], higher is more certain; any finite scale. Equal scores keep their order.
        truth: [M, 2] (x, y); M may be 0.
        eps: max distance of a match in pixels, inclusive.

    Raises: ValueError if shapes do not fit, or a value is not finite.
    """
    detections, targets = _points("points", points), _points("truth", truth)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (len(detections),):
        raise ValueError(f"scores: found shape {list(values.shape)}, expected [{len(detections)}], one for each point")
    if not np.isfinite(values).all():
        raise ValueError("scores: found values that are not finite")
    if not eps >= 0:
        raise ValueError(f"eps: found {eps}, expected a distance >= 0")
    order = np.argsort(-values, kind="stable")
    distance = np.full(len(order), np.nan)
    if len(targets):
        apart = np.hypot(*(detections[order, None, :] - targets[None, :, :]).transpose(2, 0, 1))  # [N, M]
        apart[apart > eps] = np.inf
        for index in np.flatnonzero(np.isfinite(apart).any(axis=1)):  # few: only detections near some truth
            nearest = int(apart[index].argmin())
            if np.isfinite(apart[index, nearest]):
                distance[index] = apart[index, nearest]
                apart[:, nearest] = np.inf
    return Matches(values[order], np.isfinite(distance), distance, len(targets))


def precision_recall(matches: Sequence[Matches]) -> PrecisionRecall:
    """Pool images into one curve over the score threshold, empty without detections."""
    truth = sum(match.truth for match in matches)
    scores = np.concatenate([np.empty(0), *(match.scores for match in matches)])
    hits = np.concatenate([np.empty(0, dtype=bool), *(match.true_positive for match in matches)])
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], hits[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.empty(0, dtype=np.intp)
    true_positives = np.cumsum(hits)[last].astype(np.float64)
    recall = true_positives / truth if truth else np.full(len(last), np.nan)
    return PrecisionRecall(recall, true_positives / (last + 1), scores[last], truth)


def average_precision(curve: PrecisionRecall) -> float:
    """Return the area under the monotone precision envelope, 0..1; NaN without truth, 0 without detections.

    Source: PASCAL Visual Object Classes Challenge 2010, development kit, section 3.4.1.
    """
    if curve.truth == 0:
        return float("nan")
    envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return float(np.sum(envelope * np.diff(curve.recall, prepend=0.0)))


def best_f1(curve: PrecisionRecall) -> OperatingPoint | None:
    """Return the strictest threshold with the largest F1 = 2PR / (P + R); None if nothing is ever hit."""
    if curve.truth == 0 or not len(curve.recall) or curve.recall[-1] == 0:
        return None
    total = curve.precision + curve.recall
    f1 = np.divide(2 * curve.precision * curve.recall, total, out=np.zeros_like(total), where=total > 0)
    best = int(f1.argmax())
    return OperatingPoint(*(float(a[best]) for a in (curve.threshold, curve.precision, curve.recall, f1)))


def localisation_error(matches: Sequence[Matches], threshold: float = -np.inf) -> float:
    """Return the mean distance in pixels of the true positives with score >= `threshold`, pooled; NaN if none."""
    kept = [match.distance[match.true_positive & (match.scores >= threshold)] for match in matches]
    pooled = np.concatenate([np.empty(0), *kept])
    return float(pooled.mean()) if len(pooled) else float("nan")
