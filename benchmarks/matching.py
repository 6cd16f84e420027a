"""Seconds of evaluating image pairs against seconds of the network's forward passes alone, and what the rest goes to.

    python benchmarks/matching.py [--pairs 100] [--height 480] [--width 640]

SuperPoint (VGG; the detector of magicpoint, descriptors of 256 channels with random weights) on pairs made from the
photographs of scikit-image: 1000 points, mutual matching, RANSAC and MAGSAC, all figures of a pair, features
written to the cache. Forward passes and evaluation alternate pair by pair: other load on the machine meets both alike.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from superpoint.backends import make_network
from superpoint.config import ModelConfig
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.engine.run import describe_environment
from superpoint.evaluation import feature_store, methods, pair_metrics
from superpoint.evaluation.feature_store import FeatureStore
from superpoint.evaluation.methods import Method, network_extractor
from superpoint.models import load_model
from superpoint.models.superpoint import build_model
from superpoint.stages import evaluate_pairs as stage

PARTS = {
    methods: ("detect_points", "sample_descriptors"),  # the first with its forward pass
    feature_store: ("save_features",),
    pair_metrics: ("match_descriptors", "estimate_homography", "nearest_neighbour_precision", "repeatability"),
}


def timed(name: str, function: Callable[..., Any], spent: dict[str, float]) -> Callable[..., Any]:
    def run(*values: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = function(*values, **options)
        spent[name] += time.perf_counter() - start
        return result

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    arguments = parser.parse_args()
    size = (arguments.height, arguments.width)
    count = -(-arguments.pairs // 30)  # of each kind, from the 15 photographs
    config = EvaluatePairsConfig(generated_size=list(size), longest=max(size), generated_pairs=count)
    model = build_model(ModelConfig(descriptor_dim=256))
    # Of a random detector nearly every pixel is a candidate, which no trained one's is: borrow the released one's.
    model.load_state_dict(load_model("magicpoint").state_dict(), strict=False)
    network = make_network(model.eval())
    method = Method("superpoint", "random weights", network_extractor(network, config, config.nms_radius))
    machine = describe_environment()
    print(f"{machine['cpu']}, {machine['cores']} cores, torch {machine['versions']['torch']}; {network}")

    jobs, _ = stage.find_jobs(config, None, None)
    step = max(1, len(jobs) // arguments.pairs)
    jobs = jobs[::step][: arguments.pairs]
    blank = torch.zeros(1, 1, *size, device=network.device)
    network(blank)
    forward = evaluation = 0.0
    spent: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as temporary:
        store = FeatureStore(Path(temporary), method)
        for job in jobs:
            pair = job.load()  # generating is no part of either
            images = [torch.from_numpy(view)[None, None].float() / 255 for view in (pair.image_a, pair.image_b)]
            start = time.perf_counter()
            for image in images:
                network(image.to(network.device))
            forward += time.perf_counter() - start
            patches = [
                patch.object(module, part, timed(part, getattr(module, part), spent))
                for module, parts in PARTS.items()
                for part in parts
            ]
            for each in patches:
                each.start()
            start = time.perf_counter()
            stage.measure(pair, [stage.MethodStores(method.name, store, store)], config)
            evaluation += time.perf_counter() - start
            for each in patches:
                each.stop()
        passes = store.computed
    number = len(jobs)
    print(f"{number} pairs of {size[0]}x{size[1]}, {passes} forward passes in the evaluation")
    print(f"forward passes of both views alone: {forward:.1f} s, {forward / number * 1e3:.0f} ms a pair")
    print(
        f"evaluation: {evaluation:.1f} s, {evaluation / number * 1e3:.0f} ms a pair; ratio {evaluation / forward:.2f}"
    )
    for part, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {part}: {seconds / number * 1e3:.0f} ms a pair")


if __name__ == "__main__":
    main()
