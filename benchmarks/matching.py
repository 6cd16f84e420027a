"""Seconds of evaluating image pairs against seconds of the network's forward passes alone.

    python benchmarks/matching.py [--encoder vgg|lite] [--pairs 100] [--height 480] [--width 640] [--maximum-ratio 1.5]

The released `superpoint` (or `superpoint-lite`) on pairs made from the photographs of scikit-image: 1000 points, mutual
matching, three estimators of homographies, all figures of a pair, features written to the cache. A view that several
pairs of a block share counts once in either. Forward passes and evaluation alternate in blocks of ten pairs: other load
on the machine meets both alike.

Each part alone, on one thread, is printed beside it, as CPU time. Exits with 1 if the ratio is above --maximum-ratio.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from superpoint.backends import make_network
from superpoint.config import DecodeConfig
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.engine.environment import describe_environment
from superpoint.evaluation import evaluate_pairs as stage
from superpoint.evaluation import feature_store, pair_metrics
from superpoint.evaluation.extractors import Extractor, network_extractor
from superpoint.evaluation.feature_store import FeatureStore
from superpoint.evaluation.views import content_hash
from superpoint.models import extract, load_network

BLOCK = 10  # pairs
RELEASED = {"vgg": "superpoint", "lite": "superpoint-lite"}
PARTS = {
    extract: ("probability_to_keypoints", "sample_descriptors"),
    feature_store: ("save_features",),
    pair_metrics: (
        *("compare_descriptors", "match_compared", "fit_homography"),
        *("nearest_neighbour_precision", "measure_repeatability"),
    ),
}


def timed(name: str, function: Callable[..., Any], spent: dict[str, float]) -> Callable[..., Any]:
    """`function`, the CPU time of whose thread is added to `spent`."""

    def run(*values: Any, **options: Any) -> Any:
        start = time.thread_time()
        result = function(*values, **options)
        spent[name] += time.thread_time() - start
        return result

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--encoder", choices=list(RELEASED), default="vgg")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--backend", choices=["auto", "torch", "openvino", "onnxruntime"], default="auto")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--maximum-ratio", type=float, default=float("inf"))
    arguments = parser.parse_args()
    size = (arguments.height, arguments.width)
    count = -(-arguments.pairs // 30)  # of each kind, from the 15 photographs
    config = EvaluatePairsConfig(generated_size=list(size), longest=max(size), generated_pairs=count)
    network = make_network(load_network(RELEASED[arguments.encoder]), arguments.backend, arguments.precision)
    decode = DecodeConfig(config.nms_radius, config.threshold, config.border, config.max_keypoints)
    extractor = Extractor("superpoint", "pretrained weights", network_extractor(network, decode))
    machine = describe_environment()
    threads = torch.get_num_threads()
    print(f"{machine['cpu']}, {machine['cores']} cores, {threads} threads, torch {machine['versions']['torch']}")
    print(f"{arguments.encoder}, {network}")

    jobs, _ = stage.find_jobs(config, None, None)
    jobs = jobs[:: max(1, len(jobs) // arguments.pairs)][: arguments.pairs]
    network(torch.zeros(1, 1, *size, device=network.device))
    forward = evaluation = 0.0
    images_seen = 0
    spent: dict[str, float] = defaultdict(float)
    patches = [
        patch.object(module, part, timed(part, getattr(module, part), spent))
        for module, parts in PARTS.items()
        for part in parts
    ]
    with tempfile.TemporaryDirectory() as temporary:
        store = FeatureStore(Path(temporary), extractor)
        for first in range(0, len(jobs), BLOCK):
            pairs = [job.load() for job in jobs[first : first + BLOCK]]  # generating is no part of either
            views = {content_hash(view): view for pair in pairs for view in (pair.image_a, pair.image_b)}
            images = [torch.from_numpy(view)[None, None].float() / 255 for view in views.values()]
            start = time.perf_counter()
            for image in images:
                network(image.to(network.device))
            forward += time.perf_counter() - start
            images_seen += len(images)
            for each in patches:
                each.start()
            start = time.perf_counter()
            list(stage.measure_pairs(pairs, [stage.Stores(extractor.name, store, store)], config))
            evaluation += time.perf_counter() - start
            for each in patches:
                each.stop()
        passes = store.computed
    number, ratio = len(jobs), evaluation / forward
    print(f"{number} pairs of {size[0]}x{size[1]}, {passes} forward passes in the evaluation")
    print(f"{images_seen} forward passes alone: {forward:.1f} s, {forward / number * 1e3:.0f} ms a pair")
    print(f"evaluation: {evaluation:.1f} s, {evaluation / number * 1e3:.0f} ms a pair; ratio {ratio:.2f}")
    for part, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {part}: {seconds / number * 1e3:.1f} ms of CPU a pair")
    sys.exit(ratio > arguments.maximum_ratio)


if __name__ == "__main__":
    main()
