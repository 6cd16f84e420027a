"""From an image of any size to its features: the network step of `export-detections`."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from superpoint.backends import make_network
from superpoint.config import LabellingConfig
from superpoint.data.images import check_thin, resize_with_points
from superpoint.data.masks import Mask, Masks, resize_mask
from superpoint.data.sources.archives import Item
from superpoint.features import UNCERTAINTY, Features
from superpoint.geometry.homography import resize_points, shrunk_size
from superpoint.geometry.orientation import Frame, turned_back, turned_image
from superpoint.labelling import HomographicAdaptation
from superpoint.labelling.corners import sharpen
from superpoint.labelling.memory import NoRoomError
from superpoint.models.superpoint import SuperPoint

NO_POINTS = np.zeros((0, 2), np.float32)
SHARP = 1.5  # labels are moved to corners of the image at so many times the size the network saw


class WorkingImage(NamedTuple):
    """An image as the network sees it."""

    image: NDArray[np.uint8]
    size: tuple[int, int]  # (width, height) it came in
    orientation: int = 1  # of EXIF
    frame: Frame = "upright"
    sharp: NDArray[np.uint8] | None = None  # at up to SHARP times the size, if labels are to be moved to its corners
    mask: Mask | None = None  # of `image`
    sharp_mask: Mask | None = None


Labeller = Callable[[WorkingImage, str], Features]


def read(item: Item, config: LabellingConfig, masks: Masks | None) -> WorkingImage:
    """Read an image in the frame that the network sees, and shrink it. Raises: UserError as `load`; of its mask."""
    image, orientation = item.load(), item.orientation()
    turn = orientation
    if config.seen == "stored":
        image, turn = turned_image(image, turned_back(orientation)), 1
    mask = None if masks is None else masks.read(item.name, image.shape, turn)
    return shrink(image, config, orientation, mask)


def shrink(
    image: NDArray[np.uint8], config: LabellingConfig, orientation: int = 1, mask: Mask | None = None
) -> WorkingImage:
    """Shrink an image uint8, and its mask, to the size the network works at.

    Raises: UserError if that is too thin.
    """
    height, width = image.shape[:2]
    size = shrunk_size(height, width, config.resize)
    check_thin((height, width), size, config.decode.border)
    small, _ = resize_with_points(image, NO_POINTS, size)
    small_mask = None if mask is None else resize_mask(mask, size)
    sharp = sharp_mask = None
    if config.sharpen:
        sharp_size = shrunk_size(height, width, round(SHARP * max(size)))
        sharp, _ = resize_with_points(image, NO_POINTS, sharp_size)
        sharp_mask = None if mask is None else resize_mask(mask, sharp_size)
    return WorkingImage(small, (width, height), orientation, config.seen, sharp, small_mask, sharp_mask)


def labeller(model: SuperPoint, config: LabellingConfig) -> Labeller:
    """Return the function (image, name) -> features in pixels of the image as it came.

    It raises NoRoomError for an image that does not fit into the memory.
    """
    network = make_network(model, config.backend, config.precision, config.device)
    adapts = config.adaptation.homographies > 1
    detect = HomographicAdaptation(network, config.adaptation, config.decode, network.device, config.tile)

    def label(working: WorkingImage, name: str) -> Features:
        try:
            found = detect(working.image, name, working.mask)
        except (MemoryError, torch.OutOfMemoryError) as error:
            height, width = working.image.shape[:2]
            raise NoRoomError(
                f"{name}: {width}x{height} pixels do not fit into the memory; resize the image"
            ) from error
        descriptors = found.descriptors if config.descriptors else None
        found = replace(found, descriptors=descriptors, views=found.views if adapts else None)
        features = _in_original(found, working)
        return features if working.sharp is None else _sharpened(features, working, config.corners)

    return label


def _in_original(features: Features, working: WorkingImage) -> Features:
    (width, height), (small_height, small_width) = working.size, working.image.shape[:2]
    scale_x, scale_y = width / small_width, height / small_height
    points, uncertainty = resize_points(features.keypoints, scale_x, scale_y), UNCERTAINTY * (scale_x + scale_y) / 2
    origin = {"image_size": working.size, "orientation": working.orientation, "frame": working.frame}
    return replace(features, keypoints=points, uncertainty=uncertainty, **origin)


def _sharpened(features: Features, working: WorkingImage, corners: float) -> Features:
    """Features whose points have moved to corners of `working.sharp`, the original or a smaller copy."""
    image = working.sharp
    assert image is not None
    width, height = features.image_size
    scale_x, scale_y = width / image.shape[1], height / image.shape[0]
    points = resize_points(features.keypoints, 1 / scale_x, 1 / scale_y)
    points, scores = sharpen(image, points, features.scores, added=corners, mask=working.sharp_mask)
    uncertainty = UNCERTAINTY * (scale_x + scale_y) / 2
    points = resize_points(points, scale_x, scale_y)
    return replace(features, keypoints=points, scores=scores, uncertainty=uncertainty)
