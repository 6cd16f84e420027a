"""From what a caller has (paths, arrays, tensors, lists of them) to the grey images that a network takes."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in `data.images`
ROUNDING = 1e-3  # beyond 0..1 by at most this is taken for rounding, and cut off
SIDE = 2**15 - 1  # longest side: OpenCV's resize goes no further

Image: TypeAlias = str | os.PathLike[str] | NDArray[Any] | Tensor
# The second kind is several images; an array or tensor of four dimensions is, too.
Images: TypeAlias = Image | Sequence[Image]


class GrayImage(NamedTuple):
    """`pixels`: float32 [h, w], 0..1, perhaps shrunk. `size`: (width, height) of the image as it came."""

    pixels: Tensor
    size: tuple[int, int]


def gray_images(images: Images, resize: int | None = None) -> tuple[list[GrayImage], bool]:
    """All images as grey tensors, and whether several were given (a sequence, or four dimensions).

    See `FeatureDetector.detect` for what an image can be. Raises: as there.
    """
    if isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4:
        return [gray_image(image, resize, f"image {index}") for index, image in enumerate(images)], True
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes)):
        return [gray_image(image, resize, f"image {index}") for index, image in enumerate(images)], True
    return [gray_image(images, resize)], False  # type: ignore[arg-type]  # what it is not, the callee says


def gray_image(image: Image, resize: int | None = None, name: str = "image") -> GrayImage:
    """One image as a grey tensor, its longest side shrunk to `resize` pixels if it is longer."""
    if isinstance(image, (str, os.PathLike)):
        from superpoint.data.images import read_gray  # here: decoders are not needed for arrays

        pixels = torch.from_numpy(read_gray(Path(image)))
    elif isinstance(image, np.ndarray):
        pixels = _from_array(image, name)
    elif isinstance(image, Tensor):
        pixels = _from_tensor(image, name)
    else:
        hint = "; a PIL image goes in as np.asarray(image.convert('RGB'))" if hasattr(image, "convert") else ""
        raise ValueError(f"{name}: found {type(image).__name__}, expected a path, a numpy array or a tensor{hint}")
    height, width = pixels.shape
    if max(height, width) > SIDE:
        raise ValueError(f"{name}: found {width} x {height} pixels, expected sides of at most {SIDE}")
    if resize is not None and resize < max(height, width):
        pixels = _shrunk(pixels, resize)
    return GrayImage(_scaled(pixels), (width, height))


def _scaled(pixels: Tensor) -> Tensor:
    """Float32 0..1 of uint8, or float32 as it is."""
    if pixels.dtype != torch.uint8:
        return pixels.float()
    if pixels.device.type != "cpu":
        return pixels.float() / 255
    # Not by torch: its threads would wait for more work for 8 ms, while those of another runtime run the network.
    return torch.from_numpy(np.divide(pixels.numpy(), np.float32(255), dtype=np.float32))


def _from_array(image: NDArray[Any], name: str) -> Tensor:
    """uint8 or float32 [H, W] of an array [H, W], [H, W, 1] or [H, W, 3]."""
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        hint = ""
        if image.ndim == 3 and image.shape[0] in (1, 3):
            hint = "; only tensors have their channels first"
        elif image.ndim == 3 and image.shape[2] == 4:
            hint = "; drop the alpha channel: image[:, :, :3]"
        raise ValueError(f"{name}: found shape {list(image.shape)}, expected [H, W] or [H, W, 3]{hint}")
    if 0 in image.shape:
        raise ValueError(f"{name}: found shape {list(image.shape)}, expected at least one pixel")
    if image.dtype == np.uint16:
        # As from a file: 12-bit and thermal cameras use a small part of their range.
        from superpoint.data.images import to_8_bits

        image = to_8_bits(image, stretch=True)
    elif image.dtype != np.uint8 and image.dtype.kind != "f":
        raise ValueError(f"{name}: found type {image.dtype}, expected uint8, uint16 or float 0..1")
    if image.dtype.kind == "f":
        with np.errstate(over="ignore"):
            image = image.astype(np.float32)  # float64 has no byte order or precision that matters here
    return _checked(_luma(torch.from_numpy(np.array(image, order="C")), axis=2), name)


def _from_tensor(image: Tensor, name: str) -> Tensor:
    """uint8 or float32 [H, W] of a tensor [H, W], [1, H, W] or [3, H, W], on its device."""
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[0] not in (1, 3)):
        hint = "; only numpy arrays have their channels last" if image.ndim == 3 and image.shape[2] in (1, 3) else ""
        raise ValueError(f"{name}: found shape {list(image.shape)}, expected [H, W], [1, H, W] or [3, H, W]{hint}")
    if 0 in image.shape:
        raise ValueError(f"{name}: found shape {list(image.shape)}, expected at least one pixel")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise ValueError(f"{name}: found type {image.dtype}, expected torch.uint8 or floating point 0..1")
    image = image.detach()
    return _checked(_luma(image if image.dtype == torch.uint8 else image.float(), axis=0), name)


def _luma(image: Tensor, axis: int) -> Tensor:
    if image.ndim == 2:
        return image
    if image.shape[axis] == 1:
        return image.squeeze(axis)
    image = image.movedim(axis, -1)
    if image.device.type == "cpu":  # by OpenCV for the reason in `_scaled`
        values = cv2.transform(np.ascontiguousarray(image.numpy(), np.float32), np.array([LUMA], np.float32))
        return torch.from_numpy(np.rint(values).astype(np.uint8) if image.dtype == torch.uint8 else values)
    gray = image.float() @ torch.tensor(LUMA, device=image.device)
    return gray.round().to(torch.uint8) if image.dtype == torch.uint8 else gray


def _checked(pixels: Tensor, name: str) -> Tensor:
    """Floats are finite and within 0..1; grey levels 0..255 in floats are the usual mistake."""
    if pixels.dtype == torch.uint8:
        return pixels
    values = pixels.cpu().numpy()
    low, high = float(values.min()), float(values.max())  # NaN if any is
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name}: found values that are not finite (NaN or infinity), expected 0..1")
    if low < -ROUNDING or high > 1 + ROUNDING:
        hint = "; divide by 255, or give uint8" if low >= 0 and 1 < high <= 255 else ""
        raise ValueError(f"{name}: found values {low:g}..{high:g}, expected floats of 0..1{hint}")
    return pixels if low >= 0 and high <= 1 else pixels.clamp(0, 1)


def shrunk_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """(height, width) of an image whose longest side is shrunk to `longest` px; 0, or a smaller image: as it is."""
    scale = min(1.0, longest / max(height, width)) if longest else 1.0
    return max(1, round(height * scale)), max(1, round(width * scale))


def _shrunk(pixels: Tensor, longest: int) -> Tensor:
    from superpoint.data.images import resize_with_points

    size = shrunk_size(pixels.shape[0], pixels.shape[1], longest)
    small, _ = resize_with_points(pixels.cpu().numpy(), np.zeros((0, 2), np.float32), size)
    return torch.from_numpy(small).to(pixels.device)
