"""Whether an exported file finds the keypoints and descriptors that torch finds in fp32."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superpoint.backends import resolve
from superpoint.backends.exported import open_exported
from superpoint.config import DecodeConfig, SyntheticConfig
from superpoint.config.export import ExportConfig
from superpoint.data.synthetic import ShapeGenerator
from superpoint.engine.display import watch
from superpoint.export.plain import LAYERS, open_plain
from superpoint.features import Features
from superpoint.geometry.cells import image_tensor
from superpoint.labelling import agreement
from superpoint.models.extract import decode_maps, features, output_maps
from superpoint.models.superpoint import SuperPoint

# (height, width): both, one and none a multiple of 8; larger and smaller than the recorded size; very wide.
SIZES = ((120, 160), (97, 131), (240, 243), (57, 320), (33, 40))
IMAGES = 10  # of each size
# precision -> distance in px, min share of keypoints within it
REQUIRED = {"fp32": (0.5, 0.995), "bf16": (1.0, 0.97), "fp16": (1.0, 0.97), "int8": (1.0, 0.85)}
MIN_KEYPOINTS = 50  # in all images
MIN_COSINE = 0.95  # of descriptors, mean; bf16 has .99

Run = Callable[[Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Parity:
    """Agreement of a file with torch in fp32.

    Attributes:
        keypoints: numbers found by torch and by the file.
        agreement: share of both with a keypoint of the other within `within` px; at least `required`.
        cosine: mean similarity of the descriptors of common keypoints; None without descriptors.
        sizes: (height, width) of the images.
    """

    runtime: str
    precision: str
    keypoints: tuple[int, int]
    within: float
    agreement: float
    required: float
    cosine: float | None
    sizes: tuple[tuple[int, int], ...]

    @property
    def passed(self) -> bool:
        described = self.cosine is None or self.cosine >= MIN_COSINE
        return self.agreement >= self.required and min(self.keypoints) >= MIN_KEYPOINTS and described

    def row(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "passed": self.passed}


def measure_parity(
    model: SuperPoint, path: Path, config: ExportConfig, photographs: Iterable[Tensor] = ()
) -> list[Parity]:
    """Compare an exported file with its model on synthetic shapes and `photographs`, in each precision of the runtime.

    A dense ONNX graph of a fixed shape is also read by OpenCV, if that is 5 or newer.
    """
    images = [*parity_images(model.channels, config.size), *photographs]
    form = config.form
    expected = [features(model, image, config.decode, smoothing=0)[0] for image in watch(images, "torch")]
    precisions = ["fp32"] if config.numbers == "fp32" else ["auto"]
    if precisions == ["fp32"] and form == "openvino" and resolve("openvino")[1] == "bf16":
        precisions.append("bf16")
    runs = [(*_runner(form, path, each), each.replace("auto", config.numbers)) for each in precisions]
    if form == "onnx" and config.size and config.numbers == "fp32" and int(cv2.__version__.split(".")[0]) >= 5:
        runs.append((opencv_network(path), "opencv", "fp32"))
    found = []
    for run, runtime, precision in runs:
        shown = watch(images, f"{runtime} {precision}")
        results = [_from_file(run, image, config.decode, config.batch or 1) for image in shown]
        found.append(_compare(runtime, precision, expected, results))
    return found


def parity_images(channels: int = 1, size: tuple[int, int] | None = None) -> Iterator[Tensor]:
    """Yield fixed synthetic shapes, float32 [1, channels, H, W], 0..1, all of one (height, width) or of SIZES."""
    for height, width in (size,) if size else SIZES:
        shapes = ShapeGenerator(SyntheticConfig(), height, width, 8, channels)
        for index in range(IMAGES):
            yield image_tensor([shapes.scene(index).image]).float() / 255


def opencv_network(path: Path) -> Run:
    """Return the file in the DNN module of OpenCV."""
    network = cv2.dnn.readNetFromONNX(str(path))
    names = list(network.getUnconnectedOutLayersNames())

    def run(image: Tensor) -> dict[str, Tensor]:
        network.setInput(image.numpy())
        return dict(zip(names, map(torch.from_numpy, network.forward(names)), strict=True))

    return run


def _runner(form: str, path: Path, precision: str) -> tuple[Run, str]:
    if form in LAYERS:
        return open_plain(path, form), "torch"
    network = open_exported(path, precision)
    return network, network.backend


def _from_file(run: Run, image: Tensor, decode: DecodeConfig, batch: int) -> Features:
    """Return what a file finds in the last of a batch of one image."""
    height, width = image.shape[-2:]
    with torch.no_grad():
        found = run(image.expand(batch, -1, -1, -1).contiguous())
        output = {name: values[-1:] for name, values in found.items()}
        if "keypoints" in output:
            kept = output["scores"][0] > 0
            values = {name: output[name][0][kept].numpy() for name in output}
            return Features(values["keypoints"], values["scores"], values.get("descriptors"), (width, height))
        # Not by `features`, which would pad the image: the graph does that itself.
        maps = output_maps(output, height, width)
    return decode_maps(maps, decode, smoothing=0)[0]


def _compare(runtime: str, precision: str, expected: list[Features], found: list[Features]) -> Parity:
    within, required = REQUIRED[precision]
    pairs = list(zip(expected, found, strict=True))
    counts = [len(a) + len(b) for a, b in pairs]
    shares = [agreement(a.keypoints, b.keypoints, within) for a, b in pairs]
    joined = np.concatenate([_cosines(a, b, within) for a, b in pairs])
    return Parity(
        runtime,
        precision,
        (sum(map(len, expected)), sum(map(len, found))),
        within,
        float(np.average(shares, weights=counts)) if sum(counts) else 0.0,
        required,
        float(joined.mean()) if joined.size else None,
        tuple(dict.fromkeys((each.image_size[1], each.image_size[0]) for each in expected)),
    )


def _cosines(a: Features, b: Features, within: float) -> NDArray[np.float64]:
    """Return the similarity of each keypoint of a to the nearest of b within that many pixels."""
    if a.descriptors is None or b.descriptors is None or not len(a) or not len(b):
        return np.zeros(0)
    distance = np.linalg.norm(a.keypoints[:, None] - b.keypoints[None], axis=2)
    nearest = distance.argmin(axis=1)
    near = distance[np.arange(len(nearest)), nearest] <= within
    return (a.descriptors[near].astype(np.float64) * b.descriptors[nearest[near]]).sum(axis=1)
