"""From images to features: `features` is the only way from a network to keypoints and descriptors."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from superpoint.config import DecodeConfig
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.cells import CELL, image_tensor
from superpoint.geometry.peaks import all_finite
from superpoint.models.decode import Decoder, logits_to_probability, pad_to_multiple

# Pixels of a tile beside what is taken of it. Our own encoders look 40 px beyond a cell, so that tiles change nothing;
# the descriptors of VGG16 and ResNets change by 1e-5 (cosine); squeeze-and-excitation sees the whole tile.
OVERLAP = 56

# [B, channels, H, W], sides multiples of 8 -> "logits" and, with a descriptor head, "descriptors": a `SuperPoint` in
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
    tile: int = 0,
) -> list[Features]:
    """Find the keypoints of images of one size and, with a descriptor head, describe them.

    Keypoints are in pixels of the images. See `dense_maps` for the images and errors, `decode_maps` for the options.
    They name the network if it is a `backends.Network`, which knows its hash.

    Args:
        tile: side in pixels of the overlapping tiles that larger images go through the network in; 0 = whole images.
            Their maps are joined, so keypoints differ only as far as the network looks beyond OVERLAP.
    """
    pixels = _tensor(images)
    with torch.no_grad():
        side = max(tile // CELL * CELL, 2 * OVERLAP + CELL)
        if not tile or max(pixels.shape[-2:]) <= side:
            found = decode_maps(dense_maps(network, pixels), decode, valid=valid, smoothing=smoothing)
        else:
            strips = (_strip(network, pixels, rows, side) for rows in _spans(pixels.shape[-2], side))
            found = _decoded(strips, pixels.shape[-2:], decode, valid, smoothing)
    return [replace(each, network=getattr(network, "hash", "")) for each in found]


class _Span(NamedTuple):
    """Where a tile lies along an axis: pixels `start` .. `stop` - 1, of which `first` .. `last` - 1 are taken."""

    start: int
    stop: int
    first: int
    last: int

    def taken(self, origin: int, pixels: int = 1) -> slice:
        """Return the slice of what is taken from maps that begin at `origin` and have a value per `pixels` pixels."""
        return slice((self.first - origin) // pixels, -((origin - self.last) // pixels))


def _spans(size: int, tile: int) -> list[_Span]:
    """Return the spans of tiles that cover an axis; those within the image lie at multiples of 8."""
    padded, stops = -(-size // CELL) * CELL, [tile]
    while stops[-1] < padded:
        stops.append(min(stops[-1] + tile - 2 * OVERLAP, padded))
    borders = [0, *(stop - OVERLAP for stop in stops[:-1]), size]
    return [_Span(stop - tile, min(stop, size), *own) for stop, own in zip(stops, pairwise(borders), strict=True)]


def _strip(network: AnyNetwork, images: Tensor, rows: _Span, tile: int) -> Maps:
    """Return the maps of rows of images, put together from a row of tiles."""
    width = images.shape[-1]
    strip: list[Tensor | None] = [None, None]
    for columns in _spans(width, tile):
        maps = dense_maps(network, images[..., rows.start : rows.stop, columns.start : columns.stop])
        for index, (values, step) in enumerate(zip(maps, (1, CELL), strict=True)):
            if values is None:
                continue
            own = values[..., rows.taken(rows.start, step), columns.taken(columns.start, step)]
            joined = strip[index]
            if joined is None:
                joined = strip[index] = own.new_empty(*own.shape[:-1], -(-width // step))
            joined[..., columns.taken(0, step)] = own
    return Maps(cast(Tensor, strip[0]), strip[1])


def dense_maps(network: AnyNetwork, images: Images) -> Maps:
    """Run the network on images of one size, any size: padded to multiples of 8, the probability cropped back.

    Args:
        network: see `AnyNetwork`.
        images: float32 [B, C, H, W], 0..1, or uint8 [H, W] or [H, W, C] each; moved to the device of the network.

    Returns:
        maps on the device of the network. A runtime may overwrite them at its next call.

    Raises:
        ValueError: the network is in training mode.
        UserError: the output holds NaN or infinity, so the weights are broken.
    """
    if isinstance(network, nn.Module) and network.training:
        raise ValueError("network: found training mode, expected evaluation mode; call network.eval() first")
    pixels = _tensor(images)
    device = getattr(network, "device", None)
    if isinstance(network, nn.Module):
        device = next((each.device for each in network.parameters()), None)
    pixels = pixels.to(device or pixels.device)
    if pixels.dtype == torch.uint8:  # by NumPy if possible: torch's threads would wait for more work for 8 ms
        on_cpu = pixels.device.type == "cpu"
        pixels = torch.from_numpy(np.divide(pixels.numpy(), np.float32(255))) if on_cpu else pixels.float() / 255
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
    return _decoded([maps], maps.probability.shape[-2:], decode, valid, smoothing)


def _tensor(images: Images) -> Tensor:
    return images if isinstance(images, Tensor) else image_tensor(images)


def _decoded(
    strips: Iterable[Maps],
    size: Sequence[int],
    decode: DecodeConfig | None,
    valid: Tensor | None,
    smoothing: float | None,
) -> list[Features]:
    decoder = Decoder((size[1], size[0]), decode or DecodeConfig(), valid=valid, smoothing=smoothing)
    for strip in strips:
        decoder.add(*strip)
        del strip  # before the next one is made
    return [
        Features(
            each.points.cpu().numpy(),
            each.scores.cpu().numpy(),
            None if each.descriptors is None else each.descriptors.cpu().numpy(),
            decoder.size,
        )
        for each in decoder.found()
    ]
