"""From an image of any size to its features: the network step of `export-detections`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superpoint.adaptation import HomographicAdaptation
from superpoint.adaptation.memory import NoRoomError, largest_chunk
from superpoint.backends import Network, make_network
from superpoint.config import ExportConfig
from superpoint.data.images import resize_with_points
from superpoint.data.labels import Features
from superpoint.errors import UserError
from superpoint.geometry.homography import resize_points
from superpoint.models.decode import detect_points, sample_descriptors
from superpoint.models.superpoint import SuperPoint

NO_POINTS = np.zeros((0, 2), np.float32)
UNCERTAINTY = 1.0  # standard deviation of a point in pixels of the image the network saw: it is trained on whole pixels


class WorkingImage(NamedTuple):
    """An image as the network sees it, and the size it came in. `image`: uint8 [H', W']; `size`: (width, height)."""

    image: NDArray[np.uint8]
    size: tuple[int, int]


Labeller = Callable[[WorkingImage, str], Features]


def working_size(width: int, height: int, resize: int) -> tuple[int, int]:
    """(width, height) of an image whose longest side was shrunk to `resize` (0 or a smaller image: as it is)."""
    longest = max(width, height)
    if not resize or longest <= resize:
        return width, height
    return max(1, round(width * resize / longest)), max(1, round(height * resize / longest))


def shrink(image: NDArray[np.uint8], config: ExportConfig) -> WorkingImage:
    """Image uint8 [H, W] in the size the network works at. Raises: UserError if that is still too large."""
    height, width = image.shape
    to_width, to_height = working_size(width, height, config.resize)
    if to_width * to_height > config.max_megapixels * 1e6:
        raise UserError(
            f"{to_width} x {to_height} pixels are more than max_megapixels={config.max_megapixels:g}; shrink it "
            f"with resize=1600 for instance"
        )
    small, _ = resize_with_points(image, NO_POINTS, (to_height, to_width))
    return WorkingImage(small, (width, height))


def labeller(model: SuperPoint, config: ExportConfig) -> Labeller:
    """The function (image, name) -> features in pixels of the image as it came.

    With adaptation the points of many warped views (`superpoint.adaptation`), without it those of one pass, and their
    descriptors if the model has them. It raises NoRoomError for an image that does not fit into the memory.
    """
    network = make_network(model, config.backend, config.precision, config.device)
    adapts = config.adaptation.homographies > 1
    adaptation = HomographicAdaptation(network, config.adaptation, config.decode, network.device) if adapts else None

    def label(working: WorkingImage, name: str) -> Features:
        try:
            if adaptation is not None:
                points, scores, views = adaptation(working.image, name)[:3]
                return _in_original(Features(points, scores, views=views), working)
            largest_chunk(0, working.image.shape, network.device, name)  # does it fit?
            return _in_original(_detect(network, working.image, config), working)
        except (MemoryError, torch.OutOfMemoryError) as error:
            height, width = working.image.shape
            raise NoRoomError(
                f"{name}: {width}x{height} pixels do not fit into the memory; resize the image"
            ) from error

    return label


def _detect(network: Network, image: NDArray[np.uint8], config: ExportConfig) -> Features:
    pixels = torch.from_numpy(image)[None, None].to(network.device).float() / 255
    output: dict[str, Tensor] = {}

    def run(image: Tensor) -> dict[str, Tensor]:
        output.update(network(image))
        return output

    decode = asdict(config.decode)
    with torch.inference_mode():
        (found,) = detect_points(run, pixels, **decode)
        descriptors = None
        if config.descriptors and "descriptors" in output:
            (described,) = sample_descriptors(output["descriptors"], [found.points])
            descriptors = described.T.cpu().numpy().astype(np.float16)
    return Features(found.points.cpu().numpy(), found.scores.cpu().numpy(), descriptors)


def _in_original(features: Features, working: WorkingImage) -> Features:
    (width, height), (small_height, small_width) = working.size, working.image.shape
    scale_x, scale_y = width / small_width, height / small_height
    return features._replace(
        keypoints=resize_points(features.keypoints, scale_x, scale_y),
        image_size=working.size,
        uncertainty=UNCERTAINTY * (scale_x + scale_y) / 2,
    )


def model_hash(model: SuperPoint) -> str:
    """16 hexadecimal digits that change with any weight or name of a layer."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(json.dumps([name, list(values.shape), str(values.dtype)]).encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]
