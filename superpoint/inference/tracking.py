"""Keypoints followed from frame to frame by their descriptors."""

from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

from superpoint.errors import UserError, check_number
from superpoint.features import Features
from superpoint.matching import match


@dataclass
class Track:
    """A keypoint followed over `length` frames, with its latest positions (x, y), oldest first."""

    number: int
    positions: list[NDArray[np.float32]] = field(default_factory=list)
    length: int = 0


class PointTracker:
    """Continue tracks by mutual nearest neighbours of two frames, and begin one at every other keypoint.

    Source: the two-frame tracks in the demonstration of DeTone et al. 2018.

    Args:
        max_distance: of the unit descriptors of a track in two frames, 0..2.
        keep: positions a track remembers, >= 2.
    """

    def __init__(self, max_distance: float = 0.7, keep: int = 5) -> None:
        check_number("max_distance", max_distance, 0, 2, above=True)
        check_number("keep", keep, 2, whole=True)
        self.max_distance, self.keep = max_distance, keep
        self._numbers = count()
        self._previous: tuple[Features, list[Track]] | None = None

    def update(self, features: Features) -> list[Track]:
        """Return the track of each keypoint of the next frame.

        Raises: UserError without descriptors; ValueError for a frame of another size.
        """
        if features.descriptors is None:
            raise UserError(
                "track: found no descriptors, expected those of a network with a descriptor head; "
                "detectors such as magicpoint have none"
            )
        tracks: list[Track | None] = [None] * len(features)
        if self._previous is not None:
            before, old = self._previous
            if before.image_size != features.image_size:
                raise ValueError(f"frame: found size {features.image_size}, expected {before.image_size}, as before")
            # |a - b|^2 = 2 - 2 a.b for unit vectors
            matches = match(before, features, min_score=1 - self.max_distance**2 / 2)
            for first, second in matches.indices:
                tracks[second] = old[first]
        current: list[Track] = []
        for track, point in zip(tracks, features.keypoints, strict=True):
            if track is None:
                track = Track(next(self._numbers))
            track.positions = [*track.positions[1 - self.keep :], point]
            track.length += 1
            current.append(track)
        self._previous = features, current
        return current
