"""Repeatability of a detector over two views of a plane, and how well it places what it repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from superpoint.geometry.homography import Matrix, inside, inverse, warp_points


@dataclass(frozen=True)
class RepeatabilityProtocol:
    """DESIGN's protocol by default: 240x320, the 300 strongest of the points visible in both views, 3 px."""

    eps: float = 3.0  # pixels of the second view
    max_keypoints: int = 300  # strongest points kept in each view, after those not visible in both are gone; 0 = all

    @property
    def name(self) -> str:
        return f"repeatability, {self.max_keypoints or 'all'} points, {self.eps:g} px"


@dataclass(frozen=True)
class Repeatability:
    """Attributes:
    share: points with a point of the other view within eps, over all points of both views, 0..1; NaN without points.
    error: mean distance in px of the repeated points to their nearest one; NaN if none is.
    count: points kept in the two views.
    """

    share: float
    error: float
    count: tuple[int, int]


def repeatability(
    points_a: NDArray[np.floating],
    points_b: NDArray[np.floating],
    h_a_b: Matrix,
    size_a: tuple[int, int],
    size_b: tuple[int, int],
    protocol: RepeatabilityProtocol | None = None,
) -> Repeatability:
    """Repeatability of the points [N, 2] and [M, 2] (x, y), strongest first, of two views of (height, width).

    Points that the other view does not see are dropped first, then the strongest are kept. All distances are measured
    in view b, so that both directions count the same. A point may be the nearest of several; that is the definition
    behind the published figures (DeTone et al. 2018, appendix A, after Mikolajczyk et al. 2005).
    """
    protocol = protocol or RepeatabilityProtocol()
    return repeatabilities(points_a, points_b, h_a_b, size_a, size_b, [protocol.eps], protocol.max_keypoints)[0]


def repeatabilities(
    points_a: NDArray[np.floating],
    points_b: NDArray[np.floating],
    h_a_b: Matrix,
    size_a: tuple[int, int],
    size_b: tuple[int, int],
    eps: Sequence[float],
    max_keypoints: int = 300,
) -> list[Repeatability]:
    """`repeatability` at each of several eps: distances are measured once."""
    in_b = warp_points(points_a, h_a_b)
    mapped = in_b[inside(in_b, *size_b)]
    back = warp_points(points_b, inverse(h_a_b))
    seen = np.asarray(points_b, np.float32).reshape(-1, 2)[inside(back, *size_a)]
    if max_keypoints:
        mapped, seen = mapped[:max_keypoints], seen[:max_keypoints]
    count = len(mapped), len(seen)
    if not min(count):
        return [Repeatability(0.0 if sum(count) else float("nan"), float("nan"), count)] * len(eps)
    # Axis by axis: eight times as fast as the norm over [N, M, 2].
    across, down = mapped[:, :1] - seen[None, :, 0], mapped[:, 1:] - seen[None, :, 1]
    apart = across * across + down * down
    distance = np.sqrt(np.concatenate([apart.min(axis=1), apart.min(axis=0)]))
    found = []
    for threshold in eps:
        repeated = distance <= threshold
        error = float(distance[repeated].mean()) if repeated.any() else float("nan")
        found.append(Repeatability(float(repeated.mean()), error, count))
    return found
