"""Exported files of fewer bits beside fp32 and bf16: keypoints within 1 px, MMA@3 and time, as one table.

    python benchmarks/formats.py [--models superpoint superpoint-lite] [--calibrate FOLDER]

Pairs of 480x640 generated from photographs of scikit-image, or of `--calibrate`: a third is measured on, the others
calibrate. Network alone, one image at a time; all take their turn at each image, so that other load on the machine
meets all alike. The times are ratios of medians to OpenVINO in bf16.
"""

import argparse
import tempfile
from pathlib import Path

from superpoint.backends import make_network
from superpoint.backends.exported import open_exported
from superpoint.config.export import SUFFIXES, ExportConfig
from superpoint.engine.environment import describe_environment
from superpoint.export.formats import write_model
from superpoint.export.loss import SIZE, calibration_images, measure_losses, photograph_pairs
from superpoint.export.parity import opencv_network
from superpoint.models import load_network
from superpoint.models.extract import AnyNetwork

FILES = {
    "OpenVINO fp16": ExportConfig("openvino", half=True),
    "OpenVINO int8": ExportConfig("openvino", int8=True),
    "OpenVINO int8, one size": ExportConfig("openvino", SIZE, int8=True),
    "ONNX Runtime fp16": ExportConfig(half=True),
    "ONNX Runtime int8": ExportConfig(int8=True),
    "OpenCV fp32, one size": ExportConfig(size=SIZE),
}


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
        images = calibration_images(some)
        networks: dict[str, AnyNetwork] = {
            "OpenVINO fp32": make_network(model, "openvino", "fp32"),
            "OpenVINO bf16": make_network(model, "openvino", "bf16"),
            "ONNX Runtime fp32": make_network(model, "onnxruntime"),
        }
        with tempfile.TemporaryDirectory() as folder:
            for title, config in FILES.items():
                path = Path(folder) / f"{title}{SUFFIXES[config.form]}"
                write_model(model, config.form, path, config=config, images=images if config.int8 else ())
                networks[title] = opencv_network(path) if title.startswith("OpenCV") else open_exported(path)
            found = measure_losses(networks, others)
        for title, (within, accuracy, time) in found.items():
            ratio = time / found["OpenVINO bf16"].milliseconds
            print(f"| {name} | {title} | {within:.1%} | {accuracy:.3f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
