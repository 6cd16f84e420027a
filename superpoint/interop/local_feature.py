"""A network of ours as a local feature of kornia."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from superpoint.config.inference import NMS_RADIUS
from superpoint.errors import UserError
from superpoint.models.decode import detect_points, sample_descriptors


class KorniaFeature(nn.Module):
    """What `kornia.feature.LocalFeature` is to the rest of kornia, such as `LocalFeatureMatcher`.

    Args:
        network: image [B, 1, H', W'] -> logits and descriptors: a `SuperPoint` in evaluation mode, or the `network` of
            `superpoint.load_model`.
        num_features: slots of every image; those without a point have a zero frame, response and descriptor.
        scale: of the frames, in pixels. The network sees none; a patch of one cell about the point.
        Others: see `models.decode.probability_to_points`.

    Raises: UserError, at the first image, if the network has no descriptors.
    """

    def __init__(
        self,
        network: nn.Module | Callable[[Tensor], dict[str, Tensor]],
        num_features: int = 1024,
        *,
        nms_radius: int = NMS_RADIUS,
        threshold: float = 0.015,
        border: int = 4,
        scale: float = 4.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.num_features, self.nms_radius = num_features, nms_radius
        self.threshold, self.border, self.scale = threshold, border, scale

    def forward(self, img: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Args: img [B, 1 or 3, H, W] (RGB), 0..1; mask [B, 1, H, W], points lie where it is > 0.

        Returns: frames (LAFs) [B, N, 2, 3], upright, responses [B, N], descriptors [B, N, D]; N = `num_features`.
        """
        if img.shape[1] == 3:
            weights = torch.tensor([0.299, 0.587, 0.114], device=img.device, dtype=img.dtype)
            img = (img * weights[:, None, None]).sum(dim=1, keepdim=True)
        output: dict[str, Tensor] = {}

        def run(pixels: Tensor) -> dict[str, Tensor]:
            output.update(self.network(pixels))
            return output

        with torch.no_grad():
            found = detect_points(
                run,
                img.float(),
                nms_radius=self.nms_radius,
                threshold=self.threshold,
                border=self.border,
                max_keypoints=self.num_features,
                valid=None if mask is None else mask[:, 0] > 0,
            )
            if "descriptors" not in output:
                raise UserError("network: found no descriptors, expected a network with a descriptor head")
            described = sample_descriptors(output["descriptors"], [each.points for each in found])
        frames = img.new_zeros(len(img), self.num_features, 2, 3)
        responses = img.new_zeros(len(img), self.num_features)
        descriptors = img.new_zeros(len(img), self.num_features, described[0].shape[1])
        for index, (each, values) in enumerate(zip(found, described, strict=True)):
            count = len(each.points)
            frames[index, :count, 0, 0] = frames[index, :count, 1, 1] = self.scale
            frames[index, :count, :, 2] = each.points
            responses[index, :count] = each.scores
            descriptors[index, :count] = values
        return frames, responses, descriptors
