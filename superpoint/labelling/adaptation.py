"""From an image to its labels: views, network, aggregate, points."""

from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superpoint.config import AdaptationConfig, DecodeConfig
from superpoint.data.images import resize_with_points
from superpoint.data.masks import Mask, inner
from superpoint.features import Features
from superpoint.geometry.cells import image_tensor
from superpoint.labelling.aggregate import Aggregate
from superpoint.labelling.memory import fitting_tile, give_back_freed_memory, largest_chunk
from superpoint.labelling.views import chunks, sample_views, warp_views
from superpoint.models.decode import Detections, probability_to_keypoints
from superpoint.models.extract import AnyNetwork, dense_maps, features

FLOOR = 1e-3  # probabilities up to this count as 0; fixed, so that scores do not depend on a threshold above it
SETTLE_EVERY = 10  # views between two looks at whether the points still move
SETTLED_WITHIN = 1.0  # px
TRIM_EVERY = 20  # images of one view between two returns of freed memory (7 ms); else every image


class HomographicAdaptation:
    """Labels by homographic adaptation (DeTone et al. 2018, section 5, equation 10), for images of any size."""

    def __init__(
        self,
        network: AnyNetwork,
        config: AdaptationConfig,
        decode: DecodeConfig,
        device: str | torch.device = "cpu",
        tile: int | str = "auto",
    ) -> None:
        """Label with a network of `backends.make_network`, or a `SuperPoint` in evaluation mode on `device`.

        The threshold of `decode` means the same as for plain detection. `tile`, see `memory.fitting_tile`, is for that
        alone: a view is a whole image.
        """
        self.network = network
        self.config = config
        self.decode = decode
        self.device = torch.device(device)
        self.tile = tile
        self._images = 0

    def __call__(self, image: NDArray[np.uint8], name: str, mask: Mask | None = None) -> Features:
        """Return the labels of an image uint8; scores are the probability of a keypoint within about 1 px.

        Of one view (plain detection), with descriptors if the network has them. `name` and the seed decide the views.
        No label lies on what `mask`, bool [H, W], ignores, or near it: see `data.masks.inner`.
        Raises: UserError if the network's output is not finite, or not even one view fits into the memory.
        """
        if image.ndim not in (2, 3) or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(f"image: found {image.dtype} {list(image.shape)}, expected uint8 [H, W] or [H, W, C]")
        with torch.no_grad():
            if self.config.homographies <= 1:
                tile = fitting_tile(self.tile, (image.shape[0], image.shape[1]), self.device, name)
                valid = None if mask is None else torch.from_numpy(inner(mask))
                found = replace(features(self.network, [image], self.decode, valid=valid, tile=tile)[0], views=1)
            else:
                aggregate, detections = self._adapted(image, name, mask)
                xy, scores = detections.points.cpu().numpy(), detections.scores.cpu().numpy()
                found = Features(xy, scores, None, (image.shape[1], image.shape[0]), views=aggregate.views)
        self._images += 1
        if found.views != 1 or self._images % TRIM_EVERY == 0:
            give_back_freed_memory()
        return found

    def _adapted(self, image: NDArray[np.uint8], name: str, mask: Mask | None = None) -> tuple[Aggregate, Detections]:
        config, (height, width) = self.config, image.shape[:2]
        views = sample_views(config, height, width, name)
        largest = max((view.size for view in views), key=lambda size: size[0] * size[1])
        pixels = largest_chunk(config.memory, largest, self.device, name)
        sources = {size: self._source(image, *size) for size in {view.shrunk for view in views}}
        aggregate = Aggregate(height, width, mask=mask, device=self.device)
        kept = None if mask is None else torch.from_numpy(inner(mask)).to(self.device)
        floor = min(FLOOR, self.decode.threshold)
        block = SETTLE_EVERY if config.settle else len(views)
        found = None
        for start in range(0, len(views), block):
            for chunk in chunks(views[start : start + block], pixels):
                warped = warp_views(sources[chunk[0].shrunk], chunk, height, width)
                aggregate.add(chunk, dense_maps(self.network, warped).probability, floor)
            before, found = found, self._read(aggregate, kept)
            if config.settle and before is not None:
                stay = agreement(before.points.cpu().numpy(), found.points.cpu().numpy(), SETTLED_WITHIN)
                if stay >= config.settle:
                    break
        assert found is not None
        return aggregate, found

    def _read(self, aggregate: Aggregate, kept: Tensor | None = None) -> Detections:
        valid = aggregate.seen() >= min(self.config.min_views, aggregate.views)
        valid = valid if kept is None else valid & kept
        heatmap = aggregate.heatmap()[None]
        density = aggregate.density()[None]
        return probability_to_keypoints(heatmap, valid=valid, density=density, **asdict(self.decode))[0]

    def _source(self, image: NDArray[np.uint8], height: int, width: int) -> Tensor:
        if (height, width) != image.shape[:2]:
            # A view of low resolution is drawn from an averaged copy: it would alias otherwise.
            image = resize_with_points(image, np.empty((0, 2)), (height, width))[0]
        return image_tensor([image]).to(self.device).float() / 255


def agreement(one: NDArray[np.floating], other: NDArray[np.floating], within: float = 1.0) -> float:
    """Return the share of points [N, 2] and [M, 2] that have one of the others within `within` px."""
    if not len(one) or not len(other):
        return float(len(one) == len(other))
    # Without a matrix product, whose rounding is 0.1 px at coordinates of some thousands.
    mode = "donot_use_mm_for_euclid_dist"
    near = torch.cdist(torch.from_numpy(one), torch.from_numpy(other), compute_mode=mode) <= within
    return float(near.any(dim=1).sum() + near.any(dim=0).sum()) / (len(one) + len(other))
