"""A network of ours as a local feature of kornia."""

import torch
from torch import Tensor, nn

from superpoint.config import DecodeConfig
from superpoint.config.inference import BORDER, MAX_KEYPOINTS, NMS_RADIUS, THRESHOLD
from superpoint.errors import UserError
from superpoint.models.extract import AnyNetwork, features


class KorniaFeature(nn.Module):
    """A `kornia.feature.LocalFeature`, e.g. for `LocalFeatureMatcher`.

    Args:
        network: a `SuperPoint` in evaluation mode, or the `network` of `superpoint.load_model`.
        num_features: slots per image; unused ones have a zero frame, response and descriptor.
        scale: of all frames, in pixels.
        Others: see `FeatureDetector.detect`.

    Raises: UserError at the first image if the network has no descriptors.
    """

    def __init__(
        self,
        network: AnyNetwork,
        num_features: int = MAX_KEYPOINTS,
        *,
        nms_radius: int = NMS_RADIUS,
        threshold: float = THRESHOLD,
        border: int = BORDER,
        scale: float = 4.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.num_features, self.nms_radius = num_features, nms_radius
        self.threshold, self.border, self.scale = threshold, border, scale

    def forward(self, img: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return upright frames (LAFs) [B, N, 2, 3], responses [B, N], descriptors [B, N, D]; N = `num_features`.

        Args: img [B, 1 or 3, H, W] (RGB), or of the channels of the network, 0..1; mask [B, 1, H, W], keypoints lie
            where it is > 0.
        """
        img = grey(img, getattr(self.network, "channels", 1))
        decode = DecodeConfig(self.nms_radius, self.threshold, self.border, self.num_features)
        found = features(self.network, img.float(), decode, valid=None if mask is None else mask[:, 0] > 0)
        described = [each.descriptors for each in found if each.descriptors is not None]
        if not described:
            raise UserError("network: found no descriptors, expected a network with a descriptor head")
        frames = img.new_zeros(len(img), self.num_features, 2, 3)
        responses = img.new_zeros(len(img), self.num_features)
        descriptors = img.new_zeros(len(img), self.num_features, described[0].shape[1])
        for index, (each, values) in enumerate(zip(found, described, strict=True)):
            count = len(each)
            frames[index, :count, 0, 0] = frames[index, :count, 1, 1] = self.scale
            frames[index, :count, :, 2] = torch.from_numpy(each.keypoints)
            responses[index, :count] = torch.from_numpy(each.scores)
            descriptors[index, :count] = torch.from_numpy(values)
        return frames, responses, descriptors


def grey(image: Tensor, channels: int) -> Tensor:
    """Return the luma [B, 1, H, W] of RGB [B, 3, H, W] for a network of one channel, any other image as it is."""
    if image.shape[1] != 3 or channels != 1:
        return image
    weights = torch.tensor([0.299, 0.587, 0.114], device=image.device, dtype=image.dtype)
    return (image * weights[:, None, None]).sum(dim=1, keepdim=True)
