"""From images to features: `features` is the only way from a network to keypoints and descriptors."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from superpoint.config import DecodeConfig
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.peaks import all_finite
from superpoint.models.decode import (
    logits_to_probability,
    pad_to_multiple,
    probability_to_keypoints,
    sample_descriptors,
)

# Pixels, for networks that were trained jointly with descriptors: their points are matched, and ranked for that.
SMOOTHING = 1.0

# [B, 1, H, W], sides multiples of 8 -> "logits" and, with a descriptor head, "descriptors": a `SuperPoint` in
# evaluation mode, a `backends.Network`, or a function.
AnyNetwork = nn.Module | Callable[[Tensor], dict[str, Tensor]]
Images = Tensor | Sequence[NDArray[np.uint8]] | NDArray[np.uint8]


class Maps(NamedTuple):
    """Outputs of a network for images of H x W pixels.

    probability: that a pixel is an interest point, float32 [B, H, W], 0..1.
    descriptors: [B, D, ceil(H / 8), ceil(W / 8)], one per cell; None without a descriptor head.
    """

    probability: Tensor
    descriptors: Tensor | None


def features(
    network: AnyNetwork,
    images: Images,
    decode: DecodeConfig | None = None,
    *,
    valid: Tensor | None = None,
    smoothing: float | None = None,
) -> list[Features]:
    """Find the keypoints of images of one size and, with a descriptor head, describe them.

    Keypoints are in pixels of the images. See `dense_maps` for the images and errors, `decode_maps` for the options.
    """
    with torch.no_grad():
        return decode_maps(dense_maps(network, images), decode, valid=valid, smoothing=smoothing)


def dense_maps(network: AnyNetwork, images: Images) -> Maps:
    """Run the network on images of one size, any size: padded to multiples of 8, the probability cropped back.

    Args:
        network: see `AnyNetwork`.
        images: float32 [B, 1, H, W], 0..1, or uint8 [H, W] each; they are moved to the device of the network.

    Returns:
        maps on the device of the network. A runtime may overwrite them at its next call.

    Raises:
        ValueError: the network is in training mode.
        UserError: the output holds NaN or infinity, so the weights are broken.
    """
    if isinstance(network, nn.Module) and network.training:
        raise ValueError("network: found training mode, expected evaluation mode; call network.eval() first")
    pixels = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))[:, None]
    device = getattr(network, "device", None)
    if isinstance(network, nn.Module):
        device = next((each.device for each in network.parameters()), None)
    pixels = pixels.to(device or pixels.device)
    pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
    run = getattr(network, "maps", network)  # runtimes make the probability themselves where they can
    return output_maps(run(pad_to_multiple(pixels)), *pixels.shape[-2:])


def output_maps(output: dict[str, Tensor], height: int, width: int) -> Maps:
    """Return the maps of a network's output for images of this size. Raises: UserError for NaN and infinity."""
    probability = output.get("probability")
    if probability is None:
        probability = logits_to_probability(output["logits"])
    probability = probability[..., :height, :width]
    # NaN or +infinity among the logits of a cell makes its whole softmax NaN.
    if not all_finite(probability):
        raise UserError("model output: found NaN or infinity, expected finite logits; the weights are broken")
    return Maps(probability, output.get("descriptors"))


def decode_maps(
    maps: Maps, decode: DecodeConfig | None = None, *, valid: Tensor | None = None, smoothing: float | None = None
) -> list[Features]:
    """Return the keypoints of a network's maps with its descriptors there.

    Args:
        decode: see `decode.probability_to_keypoints`; None = the defaults.
        valid: bool [B, H, W] or [H, W], true where keypoints are allowed; None = everywhere.
        smoothing: pixels; None = SMOOTHING if there are descriptors, else none.
    """
    probability, descriptors = maps
    if smoothing is None:
        smoothing = 0.0 if descriptors is None else SMOOTHING
    settings = asdict(decode or DecodeConfig())
    valid = valid if valid is None else valid.to(probability.device)
    found = probability_to_keypoints(probability, **settings, valid=valid, smoothing=smoothing)
    described = [None] * len(found)
    if descriptors is not None:
        described = [each.cpu().numpy() for each in sample_descriptors(descriptors, [each.points for each in found])]
    height, width = probability.shape[-2:]
    return [
        Features(each.points.cpu().numpy(), each.scores.cpu().numpy(), values, (width, height))
        for each, values in zip(found, described, strict=True)
    ]
