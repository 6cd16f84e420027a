"""Milliseconds from an image to keypoints and descriptors: ours, plain PyTorch, and other detectors, in one run.

    python benchmarks/inference.py [--weights superpoint] [--size 480 640] [--points 1024] [--rounds 7]
    python benchmarks/inference.py --weights superpoint --beside superpoint-lite --points 1000
    python benchmarks/inference.py --minimum-ratio 4 --maximum-overhead 1.25 --maximum-postprocessing 0.1

eager fp32     the network in torch as one writes it first: contiguous, fp32, batch norms of their own
ours, network  the same weights by `backends.make_network`, "auto": its bare forward pass, to logits and descriptors
ours, detect   `FeatureDetector.detect` from a uint8 array to arrays: conversion, forward pass, softmax, suppression,
               refinement, descriptors at `--points` keypoints
  without it   the same with a network that returns at once what it found before. OpenVINO computes softmax and
               depth to space itself (`Network.maps`): they are in "ours, maps" then, not here

One image after the other, photographs of scikit-image brought to `--size`; all methods take their turn at each image,
so that other load on the machine meets all alike, and each begins when the threads of the one before are at rest.
Medians, and the least. `--minimum-ratio` is of eager fp32's forward pass over `detect`, all that comes after ours
included. Without `--weights` the VGG network of the paper (or `--encoder lite`, `compact`), with the released detector
and descriptors of random weights: the time does not depend on them. SIFT, ORB: OpenCV's. XFeat, ALIKED: kornia's
architectures with random weights, fp32, for reference. Exit code 1 if a demand is not met, as the medians have it.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from superpoint.backends import Network, make_network
from superpoint.backends.exported import open_exported
from superpoint.config import ModelConfig
from superpoint.data.images import resize_with_points, sample_photographs
from superpoint.engine.environment import describe_environment
from superpoint.inference import FeatureDetector
from superpoint.inference.detector import EXPORTED
from superpoint.models import SuperPoint, build_model, load_network

Image = NDArray[np.uint8]
PAUSE = 0.05  # seconds: torch's threads spin for 8 ms after an operation, and would slow down whatever comes next
THRESHOLD = 0.0005  # so low that `--points` keypoints are found on nearly every photograph
ENCODERS = {
    "vgg": ("magicpoint", ModelConfig(encoder="vgg", head_channels=256, descriptor_dim=256)),
    "lite": ("magicpoint-lite", ModelConfig(encoder="lite", head_channels=128, descriptor_dim=64)),
    "compact": ("magicpoint-compact", ModelConfig(encoder="compact", head_channels=128, descriptor_dim=64, fine=16)),
}


def photographs(height: int, width: int) -> list[Image]:
    none = np.zeros((0, 2), np.float32)
    images = (np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8) for _, rgb in sample_photographs())
    return [resize_with_points(image, none, (height, width))[0] for image in images]


def described(encoder: str) -> SuperPoint:
    """With a trained detector: of a random one nearly every pixel is a candidate."""
    detector, config = ENCODERS[encoder]
    model = build_model(config)
    model.load_state_dict(load_network(detector).state_dict(), strict=False)
    return model.eval()


def tensor(image: Image) -> torch.Tensor:
    return torch.from_numpy(image)[None, None].float() / 255


def eager(model: SuperPoint, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return model(pixels)


class Recorded(Network):
    """What a network found in one image, whatever it is shown."""

    backend, precision, device = "none", "fp32", torch.device("cpu")

    def __init__(self, network: Network, pixels: torch.Tensor) -> None:
        self.found = {name: values.clone() for name, values in network.maps(pixels).items()}
        if network.backend != "openvino":
            self.found = network(pixels)

    def __call__(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(self.found)

    def maps(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(self.found) if "probability" in self.found else super().maps(image)


def kornia_methods(points: int) -> dict[str, Callable[[Image], Any]]:
    from kornia.feature import ALIKED, XFeat

    xfeat = XFeat(top_k=points).eval()
    aliked = ALIKED("aliked-n16", max_num_keypoints=points, detection_threshold=0.0).eval()

    def run(call: Callable[[torch.Tensor], Any], image: Image) -> Any:
        with torch.inference_mode():
            return call(tensor(image))

    return {
        "XFeat (kornia, fp32)": partial(run, xfeat.detectAndCompute),
        "ALIKED-n16 (kornia, fp32)": partial(run, lambda pixels: aliked(pixels.expand(-1, 3, -1, -1))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", help="a network with descriptors, instead of --encoder")
    parser.add_argument("--encoder", choices=list(ENCODERS), default="vgg")
    parser.add_argument(
        "--beside", nargs="+", default=[], metavar="WEIGHTS", help="further networks or files of export-model"
    )
    parser.add_argument("--size", type=int, nargs=2, default=[480, 640], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7, help="images")
    parser.add_argument("--plain", action="store_true", help="only ours and eager")
    parser.add_argument("--minimum-ratio", type=float, default=0.0)
    parser.add_argument("--maximum-overhead", type=float, default=float("inf"))
    parser.add_argument("--maximum-postprocessing", type=float, default=float("inf"))
    arguments = parser.parse_args()
    model = load_network(arguments.weights) if arguments.weights else described(arguments.encoder)
    model = model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    network = make_network(model)
    detector = FeatureDetector(network, 1, arguments.weights or arguments.encoder)
    machine = describe_environment()
    print(f"{machine['cpu']}, {machine['cores']} cores, {torch.get_num_threads()} threads; {network}")

    sift, orb = cv2.SIFT.create(arguments.points), cv2.ORB.create(arguments.points)
    images = photographs(*arguments.size)
    images = [images[index % len(images)] for index in range(arguments.rounds)]
    pixels = {id(image): tensor(image) for image in images}
    recorded = {id(image): FeatureDetector(Recorded(network, pixels[id(image)]), 1) for image in images}
    options = {"threshold": THRESHOLD, "max_keypoints": arguments.points}
    detect = partial(detector.detect, **options)
    methods: dict[str, Callable[[Image], Any]] = {
        "eager fp32": lambda image: eager(model, pixels[id(image)]),
        "ours, network": lambda image: network(pixels[id(image)]),
        "ours, maps": lambda image: network.maps(pixels[id(image)]),
        "ours, detect": detect,
        "  without the network": lambda image: recorded[id(image)].detect(image, **options),
    }
    for weights in arguments.beside:
        other = open_exported(weights) if Path(weights).suffix in EXPORTED else make_network(load_network(weights))
        methods |= {
            f"{weights}, network": lambda image, other=other: other(pixels[id(image)]),
            f"{weights}, detect": partial(FeatureDetector(other, 1, weights).detect, **options),
        }
    if not arguments.plain:
        methods |= {
            "SIFT (OpenCV)": lambda image: sift.detectAndCompute(image, None),
            "ORB (OpenCV)": lambda image: orb.detectAndCompute(image, None),
            **kornia_methods(arguments.points),
        }
    for method in methods.values():
        method(images[0])
    times: dict[str, list[float]] = defaultdict(list)
    for image in images:
        for name, method in methods.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            method(image)
            times[name].append((time.perf_counter() - start) * 1e3)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    points = np.mean([len(detect(image)) for image in images])
    height, width = arguments.size
    print(f"{height}x{width}, {points:.0f} keypoints with descriptors, batch 1, {len(images)} images, ms")
    print(f"  {'':28}   median    least")
    for name, value in medians.items():
        print(f"  {name:28} {value:8.1f} {min(times[name]):8.1f}   {medians['eager fp32'] / value:5.1f} x eager")
    forward = medians["ours, network"]
    ratio = medians["eager fp32"] / medians["ours, detect"]
    overhead = medians["ours, detect"] / forward
    after = medians["  without the network"] / forward
    print(f"eager fp32 / ours, detect: {ratio:.2f} (/ ours, network: {medians['eager fp32'] / forward:.2f})")
    print(f"ours, detect / ours, network: {overhead:.3f}; all but the network: {after:.1%} of its time")
    for weights in arguments.beside:
        quicker = {each: medians[f"ours, {each}"] / medians[f"{weights}, {each}"] for each in ("network", "detect")}
        print(f"{weights}: {quicker['network']:.2f} times as fast (network), {quicker['detect']:.2f} (detect)")
    met = ratio >= arguments.minimum_ratio and overhead <= arguments.maximum_overhead
    if not (met and after <= arguments.maximum_postprocessing):
        print("a demand is not met", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
