"""From an image to its labels: views, network, aggregate, points."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superpoint.config import AdaptationConfig, DecodeConfig
from superpoint.data.images import resize_with_points
from superpoint.labelling.aggregate import Aggregate
from superpoint.labelling.memory import give_back_freed_memory, largest_chunk
from superpoint.labelling.views import chunks, sample_views, warp_views
from superpoint.models.decode import (
    SMOOTHING,
    Detections,
    probability_map,
    probability_to_points,
    refine_peaks,
    sample_descriptors,
)

# Probabilities of a view up to this are left out as nothing: a peak above the usual thresholds is made of larger ones,
# and most pixels are below. Fixed, so that the scores do not depend on the threshold; only one below it lowers it.
FLOOR = 1e-3
SETTLE_EVERY = 10  # views between two looks at whether the points still move
SETTLED_WITHIN = 1.0  # px
TRIM_EVERY = 20  # images of one view between two returns of freed memory, which take about 7 ms; else every image

Network = Callable[[Tensor], dict[str, Tensor]]


class Labels(NamedTuple):
    """Labels of one image.

    points: float32 [N, 2] (x, y), pixel centres at integers, strongest first.
    scores: float32 [N], 0..1, probability of a point within about 1 px.
    views: how many views the points were made from; 1 = plain detection.
    heatmap: float32 [H, W], 0..1, where the points are the peaks; only if asked for.
    descriptors: float32 [N, D], of unit length; of plain detection only, if asked for and the network has them.
    """

    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    views: int
    heatmap: NDArray[np.float32] | None = None
    descriptors: NDArray[np.float32] | None = None


class HomographicAdaptation:
    """Labels for images of any size, by homographic adaptation: DeTone et al. 2018, section 5, equation 10.

    The result is a function of the network, the configuration, the image and its name: the order of the images, other
    images and (up to rounding) the memory that is free do not matter.
    """

    def __init__(
        self,
        network: Network,
        config: AdaptationConfig,
        decode: DecodeConfig,
        device: str | torch.device = "cpu",
        *,
        describe: bool = False,
    ) -> None:
        """Args:
        network: float32 [B, 1, H, W], 0..1, sides multiples of 8 -> {"logits": [B, 65, H / 8, W / 8], ...}; what
            `backends.make_network` gives, or a `SuperPoint` in evaluation mode, on `device`.
        decode: how points are taken from the aggregated map; the threshold means the same as for plain detection.
        describe: whether plain detection (at most one view) gives the points' descriptors too.
        """
        self.network = network
        # The runtime computes the probability itself where it can. It may overwrite the result at its next call; the
        # views have been added to the sum by then.
        self._maps: Network = getattr(network, "maps", network)
        self.config = config
        self.decode = decode
        self.device = torch.device(device)
        self.describe = describe
        self._images = 0

    def __call__(self, image: NDArray[np.uint8], name: str, *, heatmap: bool = False) -> Labels:
        """Args:
        image: uint8 [H, W], both at least 1.
        name: of the image; with the seed it decides which views are taken.
        heatmap: whether to return the map as well.

        Raises:
            UserError: the network's output is not finite, or not even one view fits into the memory.
        """
        if image.ndim != 2 or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(f"image: found {image.dtype} {list(image.shape)}, expected uint8 [H, W]")
        descriptors = None
        with torch.no_grad():
            if self.config.homographies <= 1:
                largest_chunk(self.config.memory, image.shape, self.device, name)  # does it fit?
                found, heat, descriptors = self._plain(image)
                views = 1
            else:
                aggregate, found = self._adapted(image, name)
                heat, views = aggregate.heatmap() if heatmap else None, aggregate.views
        self._images += 1
        if views > 1 or self._images % TRIM_EVERY == 0:
            give_back_freed_memory()
        heat, descriptors = (
            None if values is None else values.cpu().numpy() for values in (heat if heatmap else None, descriptors)
        )
        return Labels(found.points.cpu().numpy(), found.scores.cpu().numpy(), views, heat, descriptors)

    def _plain(self, image: NDArray[np.uint8]) -> tuple[Detections, Tensor, Tensor | None]:
        output: dict[str, Tensor] = {}

        def run(pixels: Tensor) -> dict[str, Tensor]:
            output.update(self.network(pixels))
            return output

        probability = probability_map(run, self._source(image, *image.shape))
        found = self._points(probability, None, smoothing=SMOOTHING if "descriptors" in output else 0.0)
        descriptors = None
        if self.describe and "descriptors" in output:
            (descriptors,) = sample_descriptors(output["descriptors"], [found.points])
        return found, probability[0], descriptors

    def _adapted(self, image: NDArray[np.uint8], name: str) -> tuple[Aggregate, Detections]:
        config, (height, width) = self.config, image.shape
        views = sample_views(config, height, width, name)
        largest = max((view.size for view in views), key=lambda size: size[0] * size[1])
        pixels = largest_chunk(config.memory, largest, self.device, name)
        sources = {size: self._source(image, *size) for size in {view.shrunk for view in views}}
        aggregate = Aggregate(height, width, largest=config.aggregation == "max", device=self.device)
        floor = min(FLOOR, self.decode.threshold)
        block = SETTLE_EVERY if config.settle else len(views)
        found = None
        for start in range(0, len(views), block):
            for chunk in chunks(views[start : start + block], pixels):
                warped = warp_views(sources[chunk[0].shrunk], chunk, height, width)
                aggregate.add(chunk, probability_map(self._maps, warped), floor)
            before, found = found, self._read(aggregate)
            if config.settle and before is not None:
                stay = agreement(before.points.cpu().numpy(), found.points.cpu().numpy(), SETTLED_WITHIN)
                if stay >= config.settle:
                    break
        assert found is not None
        return aggregate, found

    def _read(self, aggregate: Aggregate) -> Detections:
        """The points of what has been aggregated so far."""
        valid = aggregate.seen() >= min(self.config.min_views, aggregate.views)
        heatmap = aggregate.heatmap()[None]
        found = self._points(heatmap, valid, subpixel=False)
        if self.decode.subpixel and len(found.points):
            x, y = found.points.long().unbind(dim=1)
            points = refine_peaks(aggregate.density()[None], torch.zeros_like(x), y, x)
            found = Detections(points, found.scores)
        return found

    def _points(
        self, probability: Tensor, valid: Tensor | None, subpixel: bool | None = None, smoothing: float = 0.0
    ) -> Detections:
        decode = self.decode
        (found,) = probability_to_points(
            probability,
            nms_radius=decode.nms_radius,
            threshold=decode.threshold,
            border=decode.border,
            max_keypoints=decode.max_keypoints,
            subpixel=decode.subpixel if subpixel is None else subpixel,
            valid=valid,
            smoothing=smoothing,
        )
        return found

    def _source(self, image: NDArray[np.uint8], height: int, width: int) -> Tensor:
        if (height, width) != image.shape:
            # A view of low resolution is drawn from a copy that is averaged over areas: it would alias otherwise.
            image = resize_with_points(image, np.empty((0, 2)), (height, width))[0]
        return torch.from_numpy(np.ascontiguousarray(image)).to(self.device)[None, None].float() / 255


def agreement(one: NDArray[np.floating], other: NDArray[np.floating], within: float = 1.0) -> float:
    """Share of the points [N, 2] and [M, 2] with one of the other set within that many pixels; 1 if neither has any."""
    if not len(one) or not len(other):
        return float(len(one) == len(other))
    # Without a matrix product, whose rounding is 0.1 px at coordinates of some thousands.
    mode = "donot_use_mm_for_euclid_dist"
    near = torch.cdist(torch.from_numpy(one), torch.from_numpy(other), compute_mode=mode) <= within
    return float(near.any(dim=1).sum() + near.any(dim=0).sum()) / (len(one) + len(other))
