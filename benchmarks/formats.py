"""Exported files of fewer bits beside fp32 and bf16: keypoints within 1 px, MMA@3 and time, as one table.

    python benchmarks/formats.py [--models superpoint superpoint-lite] [--calibrate FOLDER]

Pairs of 480x640 generated from photographs of scikit-image, or of `--calibrate`: a third is measured on, the others
calibrate. Network alone, one image at a time; all take their turn at each image, so that other load on the machine
meets all alike. The times are ratios of medians to OpenVINO in bf16.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from superpoint.backends import make_network
from superpoint.backends.exported import open_exported
from superpoint.config import DecodeConfig
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.config.export import SUFFIXES, ExportConfig
from superpoint.data.pairs import ViewPair
from superpoint.engine.display import watch
from superpoint.engine.environment import describe_environment
from superpoint.evaluation.pair_metrics import measure_pair
from superpoint.export.formats import write_model
from superpoint.export.numbers import SIZE, photograph_pairs, views
from superpoint.export.parity import opencv_network
from superpoint.labelling import agreement
from superpoint.models import load_network
from superpoint.models.extract import AnyNetwork, features

EPS = 3  # px, of MMA
PAUSE = 0.02  # seconds: torch's threads spin after an operation, and would slow down whatever comes next

FILES = {
    "OpenVINO fp16": ExportConfig("openvino", half=True),
    "OpenVINO int8": ExportConfig("openvino", int8=True),
    "OpenVINO int8, one size": ExportConfig("openvino", SIZE, int8=True),
    "ONNX Runtime fp16": ExportConfig(half=True),
    "ONNX Runtime int8": ExportConfig(int8=True),
    "OpenCV fp32, one size": ExportConfig(size=SIZE),
}


class Loss(NamedTuple):
    """Share of keypoints within 1 px of the first network's, MMA@3, median milliseconds of an image."""

    within: float
    mma: float
    milliseconds: float


def measure_losses(networks: Mapping[str, AnyNetwork], pairs: Sequence[ViewPair]) -> dict[str, Loss]:
    """Measure networks; all take their turn at each image, so that other load on the machine meets all alike."""
    protocol = EvaluatePairsConfig()
    decode = DecodeConfig(protocol.nms_radius, protocol.threshold, protocol.border, protocol.max_keypoints)
    within, accuracy, times = (defaultdict[str, list[float]](list) for _ in range(3))
    for pair in watch(pairs, "pairs"):
        first = None
        for name, network in networks.items():
            a, b = (features(_timed(network, times[name]), view, decode)[0] for view in views([pair]))
            first = first or (a, b)
            accuracy[name].append(measure_pair(name, pair, a, b, protocol, estimators=()).mma[EPS - 1])
            within[name] += [agreement(x.keypoints, y.keypoints, 1.0) for x, y in zip(first, (a, b), strict=True)]
    return {
        name: Loss(float(np.mean(within[name])), float(np.mean(accuracy[name])), float(np.median(times[name]) * 1e3))
        for name in networks
    }


def _timed(network: AnyNetwork, times: list[float]) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return the network for one image, which a file of a fixed batch gets several times over."""
    batch = (getattr(network, "shape", None) or [1])[0]

    def run(image: Tensor) -> dict[str, Tensor]:
        image = image.expand(batch, -1, -1, -1).contiguous()
        time.sleep(PAUSE)
        start = time.perf_counter()
        output = network(image)
        times.append((time.perf_counter() - start) / batch)
        return {name: values[:1].clone() for name, values in output.items()}

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=["superpoint", "superpoint-lite"])
    parser.add_argument("--calibrate", help="folder of photographs")
    arguments = parser.parse_args()
    machine = describe_environment()
    print(f"{machine['cpu']}, {machine['cores']} cores\n")
    print("| network | file | keypoints within 1 px of fp32's | MMA@3 | time / bf16's |\n|---|---|---|---|---|")
    for name in arguments.models:
        model = load_network(name)
        some, others = photograph_pairs(arguments.calibrate, model.channels)
        images = [each.numpy() for each in views(some)]
        networks: dict[str, AnyNetwork] = {
            "OpenVINO fp32": make_network(model, "openvino", "fp32"),
            "OpenVINO bf16": make_network(model, "openvino", "bf16"),
            "ONNX Runtime fp32": make_network(model, "onnxruntime"),
        }
        with tempfile.TemporaryDirectory() as folder:
            for title, config in FILES.items():
                path = Path(folder) / f"{title}{SUFFIXES[config.form]}"
                write_model(model, path, config, images=images if config.int8 else ())
                networks[title] = opencv_network(path) if title.startswith("OpenCV") else open_exported(path)
            found = measure_losses(networks, others)
        for title, (within, accuracy, milliseconds) in found.items():
            ratio = milliseconds / found["OpenVINO bf16"].milliseconds
            print(f"| {name} | {title} | {within:.1%} | {accuracy:.3f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
