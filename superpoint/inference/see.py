"""A network and its view of an image, as the options of a command say."""

from dataclasses import asdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from superpoint.config import DecodeConfig
from superpoint.config.inference import InferenceConfig, parse_grid
from superpoint.data.images import check_thin
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.homography import shrunk_size
from superpoint.inference.detector import FeatureDetector, load_model
from superpoint.inference.images import Mask, shrink
from superpoint.labelling.memory import fitting_tile


class Seen(NamedTuple):
    """An image as a network saw it, its features there, and the (width, height) of the original."""

    image: NDArray[np.uint8]
    features: Features
    size: tuple[int, int]


def see(
    model: FeatureDetector, image: NDArray[np.uint8], config: InferenceConfig, name: str, mask: Mask = None
) -> Seen:
    """Shrink an image uint8 [H, W] or [H, W, C] as `config` says and find its features on what its mask keeps.

    Raises: NoRoomError if it does not fit into the memory; UserError if it becomes too thin; as the detector.
    """
    height, width = image.shape[:2]
    size = shrunk_size(height, width, config.resize)
    check_thin((height, width), size, config.border)
    tile = fitting_tile(config.tile, size, model.device, name)
    small = shrink(image, config.resize)
    found = model.detect(small, mask=mask, tile=tile, **asdict(decode_config(config)))
    return Seen(small, found, (width, height))


def load_detector(config: InferenceConfig, *, described: bool = False) -> FeatureDetector:
    """Load the model of a configuration. Raises: UserError, with `described` also for one without descriptors."""
    model = load_model(config.model, config.device, config.backend, config.precision)
    if described and not model.descriptor_dim:
        raise UserError(f"{config.model}: a detector without descriptors, expected a network that has them")
    return model


def decode_config(config: InferenceConfig) -> DecodeConfig:
    """Return how a network's output becomes keypoints."""
    grid = parse_grid("--grid", config.grid)
    return DecodeConfig(
        config.nms_radius, config.threshold, config.border, config.max_keypoints, grid=grid, per_cell=config.per_cell
    )
