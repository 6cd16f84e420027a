"""A network of ours as a matcher of vismatch: SuperPointTrained("cpu")(image0, image1)."""

from typing import Any

from torch import Tensor
from vismatch import BaseMatcher  # pyright: ignore[reportMissingImports]

import superpoint
from superpoint.matching import matched_keypoints


class SuperPointTrained(BaseMatcher):  # pyright: ignore[reportGeneralTypeIssues]
    def __init__(
        self, device: str = "cpu", max_num_keypoints: int = 1024, weights: str = "superpoint-lite", **kwargs: Any
    ) -> None:
        super().__init__(device, **kwargs)
        self.detector, self.max_num_keypoints = superpoint.load_model(weights, device=device), max_num_keypoints

    def _forward(self, img0: Tensor, img1: Tensor) -> tuple[Any, ...]:
        """Return what vismatch asks of images [3, H, W], 0..1."""
        first, second = (
            self.detector.detect(each.cpu(), max_keypoints=self.max_num_keypoints) for each in (img0, img1)
        )
        found = superpoint.match(first, second)
        points = matched_keypoints(first, second, found)
        return (*points, first.keypoints, second.keypoints, first.descriptors, second.descriptors, found.scores)
