"""A trained network behind one call: images in, features out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, get_args, overload

import torch
from torch import Tensor

from superpoint.backends import Network, make_network
from superpoint.backends.exported import open_exported
from superpoint.config import DecodeConfig
from superpoint.config.inference import BORDER, NMS_RADIUS, THRESHOLD, check_grid, check_runtime, check_tile
from superpoint.errors import UserError, check_number, check_one_of
from superpoint.features import UNCERTAINTY, Features
from superpoint.geometry.homography import resize_points
from superpoint.geometry.orientation import Frame
from superpoint.inference.images import Image, Images, Mask, Masks, NetworkImage, network_images
from superpoint.labelling.memory import fitting_tile
from superpoint.models.extract import dense_maps, features
from superpoint.models.weights import load_network

if TYPE_CHECKING:
    from typing_extensions import Unpack

DEFAULT_MODEL = "superpoint-lite"
EXPORTED = (".onnx", ".xml", ".pt")
BATCH_PIXELS = 1 << 21  # of the images that go through the network together: seven of 480x640


class _Options(TypedDict, total=False):
    """Those of `FeatureDetector.detect`, for type checkers."""

    threshold: float | None
    max_keypoints: int | None
    nms_radius: int
    border: int
    subpixel: bool
    resize: int | None
    frame: Frame
    tile: int | str
    grid: Sequence[int] | None
    per_cell: int


class FeatureDetector:
    """Find and describe keypoints; made by `load_model`. Not safe for several threads at once.

    Attributes:
        name: what it was loaded from.
        descriptor_dim: length of a descriptor, 0 if the network has none.
        channels: of the images it looks at: 1 = grey, 3 = RGB, others = bands, see `data.bands.read_image`.
        backend, precision, device: as `backends.Network` has them.
    """

    def __init__(self, network: Network, descriptor_dim: int, name: str = "") -> None:
        self.network, self.descriptor_dim, self.name = network, descriptor_dim, name
        self.backend, self.precision, self.device = network.backend, network.precision, network.device
        self.channels = network.channels

    def __repr__(self) -> str:
        described = f"descriptors of {self.descriptor_dim}" if self.descriptor_dim else "no descriptors"
        return f"FeatureDetector({self.name}: {self.network}, {described})"

    @overload
    def detect(self, images: Image, *, mask: Mask = ..., **options: Unpack[_Options]) -> Features: ...

    @overload
    def detect(self, images: Sequence[Image], *, mask: Masks = ..., **options: Unpack[_Options]) -> list[Features]: ...

    def detect(
        self,
        images: Images,
        *,
        mask: Masks = None,
        threshold: float | None = None,
        max_keypoints: int | None = None,
        nms_radius: int = NMS_RADIUS,
        border: int = BORDER,
        subpixel: bool = True,
        resize: int | None = None,
        frame: Frame = "upright",
        tile: int | str = "auto",
        grid: Sequence[int] | None = None,
        per_cell: int = 0,
    ) -> Features | list[Features]:
        """Find keypoints in one image or several of any sizes, and describe them if the network can.

        Args:
            images: a path; a numpy array [H, W], [H, W, 1] or [H, W, 3] (RGB), uint8, uint16, bool or float of 0..1; a
                tensor [H, W], [1, H, W] or [3, H, W] (RGB), uint8, bool or float of 0..1. Or several: a list or tuple,
                or a colour array or tensor with one more dimension in front. uint16 is stretched as from a file.
                For a network of other `channels`: a path, an array [H, W, channels], a tensor [channels, H, W].
            mask: what to ignore (0; anything else is kept): bool or uint8 [H, W], an array, a tensor or a path; a list
                for several images, or one for all. Of any size, in the frame of the image; see `data.masks.fit_mask`.
                No keypoint lies within 4 px of an ignored pixel.
            threshold: keep keypoints of a higher probability; None = 0.015.
            max_keypoints: keep the strongest of each image; None or 0 = all.
            nms_radius: drop the weaker of two peaks within this many pixels along both axes.
            border: drop keypoints nearer to the edge than this many pixels.
            subpixel: refine peaks; otherwise keypoints are whole pixels of the image that the network sees.
            resize: shrink images to this longest side first, in pixels; None or 0 = as they are. Distances above are
                in pixels of the shrunk image, keypoints in pixels of the original.
            frame: of keypoints and image size where a file has an EXIF orientation: "upright" (as it is shown) or
                "stored" (as its pixels lie in the file), for the network too; see `Features.in_frame`.
            tile: side in pixels of overlapping tiles, for images that do not fit into the memory; the keypoints are
                as of the whole image. "auto" where the memory asks for it; 0 = never.
            grid: columns and rows of cells: keep the `per_cell` strongest in each, before `max_keypoints`.

        Returns: features, strongest first; for several images a list in their order.
        Raises: UserError for an unreadable file, a value out of range or a mask of another aspect ratio; ValueError for
            another array or tensor.

        >>> import numpy as np, superpoint
        >>> model = superpoint.load_model("magicpoint-lite")
        >>> square = np.zeros((120, 160), np.uint8)
        >>> square[40:80, 50:110] = 255
        >>> features = model.detect(square, max_keypoints=4)
        >>> features.keypoints.shape, features.image_size
        ((4, 2), (160, 120))
        >>> [len(each) for each in model.detect([square, square[:60]], max_keypoints=2)]
        [2, 2]
        """
        check_number("threshold", threshold, 0, 1)
        check_number("nms_radius", nms_radius, 0, 1000, whole=True)
        check_one_of("frame", frame, get_args(Frame))
        for key, value in (("max_keypoints", max_keypoints), ("border", border), ("resize", resize)):
            check_number(key, value, 0, whole=True)
        check_tile("tile", tile)
        check_grid(grid or (), per_cell)
        pictures, several = network_images(images, resize or 0, mask, self.channels, frame)
        threshold = THRESHOLD if threshold is None else threshold
        decode = DecodeConfig(nms_radius, threshold, border, max_keypoints or 0, subpixel, list(grid or ()), per_cell)
        found: list[Features] = []
        for group in _groups(pictures):
            pixels = torch.stack([image.pixels for image in group])
            side = fitting_tile(tile, (pixels.shape[-2], pixels.shape[-1]), self.device, "image")
            found += map(_in_original, group, features(self.network, pixels, decode, valid=_valid(group), tile=side))
        found = [replace(each, frame=frame) for each in found]
        return found if several else found[0]


def _in_original(image: NetworkImage, found: Features) -> Features:
    """Return features of the shrunk image in pixels of the original one."""
    height, width = image.pixels.shape[1:]
    scales = image.size[0] / width, image.size[1] / height
    points, uncertainty = resize_points(found.keypoints, *scales), UNCERTAINTY * sum(scales) / 2
    origin = {"image_size": image.size, "orientation": image.orientation}
    return replace(found, keypoints=points, uncertainty=uncertainty, **origin)


def _valid(group: Sequence[NetworkImage]) -> Tensor | None:
    """Where keypoints are allowed, bool [B, h, w]; None = everywhere."""
    if all(image.valid is None for image in group):
        return None
    everywhere = torch.ones(group[0].pixels.shape[1:], dtype=torch.bool)
    return torch.stack([everywhere if image.valid is None else image.valid for image in group])


def _groups(images: Sequence[NetworkImage]) -> Iterator[list[NetworkImage]]:
    """Yield neighbours of one shape together, up to BATCH_PIXELS."""
    for (shape, _), neighbours in groupby(images, key=lambda image: (image.pixels.shape, image.pixels.dtype)):
        alike, count = list(neighbours), max(1, BATCH_PIXELS // shape.numel())
        yield from (alike[start : start + count] for start in range(0, len(alike), count))


def load_model(
    name_or_path: str | Path = DEFAULT_MODEL, device: str = "auto", backend: str = "auto", precision: str = "auto"
) -> FeatureDetector:
    """Load a trained network, ready for use.

    Args:
        name_or_path: name of pretrained weights, a weights file (.safetensors), a checkpoint, a run folder or the
            folder of a finetune or pipeline; or a dense graph of `superpoint export-model` (.onnx, .xml or .pt),
            which sets the backend and needs the CPU.
        device: "auto" (a CUDA GPU if there is one, else the CPU), "cpu", "cuda" or "mps".
        backend: "auto" (OpenVINO on a CPU if it is installed, else torch), "torch", "openvino" or "onnxruntime".
        precision: "auto" (bf16 where the hardware multiplies it natively, else fp32), "fp32" or "bf16".

    Raises: UserError for missing or damaged weights, a missing device or runtime, an exported file with the decoder
        inside or for another backend or device.

    >>> import superpoint
    >>> model = superpoint.load_model("magicpoint-lite", device="cpu", backend="torch", precision="fp32")
    >>> model
    FeatureDetector(magicpoint-lite: torch fp32 on cpu, no descriptors)
    """
    if not isinstance(name_or_path, str | Path):
        raise UserError(f"name_or_path: found {name_or_path!r}, expected the name of pretrained weights or a path")
    if Path(name_or_path).suffix in EXPORTED and not Path(name_or_path).is_dir():
        return _load_exported(Path(name_or_path), device, backend, precision)
    return _detector(make_network(load_network(name_or_path), backend, precision, device), name_or_path)


def _load_exported(path: Path, device: str, backend: str, precision: str) -> FeatureDetector:
    check_runtime(backend, precision, device)
    network = open_exported(path, precision)
    outputs = network.metadata["outputs"]
    if "logits" not in outputs:
        raise UserError(
            f"{path}: found the outputs {', '.join(outputs)}, expected a dense graph with logits; export it with "
            "--format onnx, or run this one by superpoint.export.open_exported"
        )
    if backend not in ("auto", network.backend):
        raise UserError(f"backend: found '{backend}', expected '{network.backend}' or 'auto': {path} runs in no other")
    if device not in ("auto", "cpu"):
        raise UserError(f"device: found '{device}', expected 'cpu' or 'auto': the exported file {path} runs on the CPU")
    return _detector(network, path)


def _detector(network: Network, name: str | Path) -> FeatureDetector:
    """Warm up the network, which tells the length of its descriptors and whether its weights are broken."""
    with torch.inference_mode():
        try:
            batch, height, width = getattr(network, "shape", None) or (1, 16, 16)
            descriptors = dense_maps(network, torch.zeros(batch, network.channels, height, width)).descriptors
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    dim = 0 if descriptors is None else descriptors.shape[1]
    return FeatureDetector(network, dim, str(name))
