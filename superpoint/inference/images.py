"""Images for a network from paths, arrays, tensors and lists of them."""

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superpoint.data.bands import read_image, stretched
from superpoint.data.images import read_orientation, resize_with_points
from superpoint.data.levels import to_8_bits
from superpoint.data.masks import as_mask, fit_mask, inner, read_mask
from superpoint.geometry.cells import image_tensor
from superpoint.geometry.homography import shrunk_size
from superpoint.geometry.orientation import Frame

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in `data.images`
ROUNDING = 1e-3  # an excess over 0..1 up to this is cut off
NO_KEYPOINTS = np.zeros((0, 2), np.float32)

Image: TypeAlias = str | os.PathLike[str] | NDArray[Any] | Tensor
Images: TypeAlias = Image | Sequence[Image]
Mask: TypeAlias = str | os.PathLike[str] | NDArray[Any] | Tensor | None
Masks: TypeAlias = Mask | Sequence[Mask]


class NetworkImage(NamedTuple):
    """`pixels`: uint8 or float32 of 0..1 [C, h, w], perhaps shrunk. `size`: (width, height) of the image as it came.

    `orientation`: of EXIF. `valid`: bool [h, w], where keypoints are allowed; None =
    everywhere.
    """

    pixels: Tensor
    size: tuple[int, int]
    orientation: int = 1
    valid: Tensor | None = None


def network_images(
    images: Images, resize: int = 0, mask: Masks = None, channels: int = 1, frame: Frame = "upright"
) -> tuple[list[NetworkImage], bool]:
    """Return tensors, and whether several images came (see `FeatureDetector.detect`)."""
    if isinstance(images, np.ndarray | Tensor):
        several = images.ndim == 4
    else:
        several = isinstance(images, Sequence) and not isinstance(images, str | bytes)
    if several:
        images = cast(Sequence[Image], images)
        each = isinstance(mask, list | tuple) or (isinstance(mask, np.ndarray | Tensor) and mask.ndim > 2)
        masks = cast(Sequence[Mask], mask if each else [mask] * len(images))  # one for all
        if len(masks) != len(images):
            raise ValueError(f"mask: found {len(masks)} masks, expected {len(images)}, one per image")
        pairs = enumerate(zip(images, masks, strict=True))
        return [network_image(each, resize, f"image {k}", one, channels, frame) for k, (each, one) in pairs], True
    one = cast(Image, images)  # what it is not, the callee says
    return [network_image(one, resize, mask=cast(Mask, mask), channels=channels, frame=frame)], False


def network_image(
    image: Image,
    resize: int = 0,
    name: str = "image",
    mask: Mask = None,
    channels: int = 1,
    frame: Frame = "upright",
) -> NetworkImage:
    """Return an image as a tensor, its longest side shrunk to `resize` pixels, with its mask."""
    orientation, upright = 1, frame == "upright"
    if isinstance(image, str | os.PathLike):
        orientation = read_orientation(Path(image))
        pixels = read_image(Path(image), channels, upright=upright)
    elif isinstance(image, np.ndarray | Tensor):
        pixels = _numbers(image, channels, name)
    else:
        hint = "; a PIL image goes in as np.asarray(image.convert('RGB'))" if hasattr(image, "convert") else ""
        raise ValueError(f"{name}: found {type(image).__name__}, expected a path, a numpy array or a tensor{hint}")
    height, width = pixels.shape[:2]
    if resize and resize < max(height, width):
        pixels = shrink(pixels, resize)
    turn, size = orientation if upright else 1, (pixels.shape[0], pixels.shape[1])
    valid = None if mask is None else _valid(mask, size, turn, f"mask of {name}")
    return NetworkImage(image_tensor([pixels])[0], (width, height), orientation, valid)


def _valid(mask: Mask, size: tuple[int, int], orientation: int, name: str) -> Tensor:
    values = read_mask(Path(mask)) if isinstance(mask, str | os.PathLike) else as_mask(mask, name)
    allowed = inner(fit_mask(values, size, orientation, name))
    if not allowed.any():
        warnings.warn(f"{name}: it keeps nothing, so there are no keypoints", stacklevel=2)
    return torch.from_numpy(allowed)


def shrink(image: NDArray[Any], longest: int) -> NDArray[Any]:
    """Return an image with the longest side shrunk to `longest` px, unless that is 0."""
    size = shrunk_size(image.shape[0], image.shape[1], longest)
    return resize_with_points(image, NO_KEYPOINTS, size)[0]


def _numbers(image: NDArray[Any] | Tensor, channels: int, name: str) -> NDArray[Any]:
    """Return uint8 or float32 [H, W] or [H, W, channels] of an array with its channels last, or a tensor (first).

    For networks of grey and of RGB, either is converted.
    """
    counts = (1, 3) if channels in (1, 3) else (channels,)
    axis = 0 if isinstance(image, Tensor) else 2
    if image.ndim not in (2, 3) or (image.shape[axis] if image.ndim == 3 else 1) not in counts:
        kinds, count = ("[H, W], " if 1 in counts else ""), " or ".join(map(str, counts))
        expected = f"{kinds}an array [H, W, {count}] or a tensor [{count}, H, W]"
        raise ValueError(f"{name}: found shape {list(image.shape)}, expected {expected}")
    if 0 in image.shape:
        raise ValueError(f"{name}: found shape {list(image.shape)}, expected at least one pixel")
    kind = getattr(image.dtype, "name", str(image.dtype).removeprefix("torch."))
    if kind not in ("uint8", "uint16", "bool") and "float" not in kind:
        raise ValueError(f"{name}: found type {image.dtype}, expected uint8, uint16, bool or float 0..1")
    if isinstance(image, Tensor):
        values = (image.float() if image.is_floating_point() else image).detach().cpu().numpy()
        values = np.moveaxis(values, 0, -1) if values.ndim == 3 else values
    else:
        values = image
    if values.dtype in (np.uint16, np.bool_):  # as from a file: thermal cameras use a small part of their range
        values = to_8_bits(values, stretch=True) if channels in (1, 3) else stretched(values, name, channels)
    with np.errstate(over="ignore"):
        pixels = np.array(values, np.uint8 if values.dtype == np.uint8 else np.float32, order="C")
    if channels == 1:
        return _checked(_luma(pixels), name)
    bands = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return _checked(np.repeat(bands, channels, axis=2) if bands.shape[2] < channels else bands, name)


def _luma(image: NDArray[Any]) -> NDArray[Any]:
    # By OpenCV: torch's threads would wait for more work for 8 ms, while another runtime runs the network.
    if image.ndim == 2 or image.shape[2] == 1:
        return image.reshape(image.shape[:2])
    values = cv2.transform(np.asarray(image, np.float32), np.array([LUMA], np.float32))
    return np.rint(values).astype(np.uint8) if image.dtype == np.uint8 else values


def _checked(pixels: NDArray[Any], name: str) -> NDArray[Any]:
    """Return uint8, or finite floats clipped to 0..1."""
    if pixels.dtype == np.uint8:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())  # NaN if any is
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name}: found values that are not finite (NaN or infinity), expected 0..1")
    if low < -ROUNDING or high > 1 + ROUNDING:
        hint = "; divide by 255, or give uint8" if low >= 0 and 1 < high <= 255 else ""
        raise ValueError(f"{name}: found values {low:g}..{high:g}, expected floats of 0..1{hint}")
    return pixels.clip(0, 1)
