"""Milliseconds a synthetic sample costs on one core: drawn, augmented, encoded.

    python benchmarks/generator.py [--samples 2000] [--height 120 --width 160]

Prints each part and each primitive. CPU time of this process, so other work on the machine disturbs it less.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch

from superpoint.config import DataConfig, PhotometricConfig
from superpoint.data.photometric import augment_photometric
from superpoint.data.samples import SyntheticShapes
from superpoint.data.synthetic import PRIMITIVES


def milliseconds(function: Callable[[int], object], count: int, repeats: int = 3) -> float:
    """CPU milliseconds a call, the best of `repeats` rounds over indices 0 .. count - 1."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        for index in range(count):
            function(index)
        best = min(best, (time.process_time() - start) / count * 1e3)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--height", type=int, default=120)
    parser.add_argument("--width", type=int, default=160)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)

    count = arguments.samples
    dataset = SyntheticShapes(DataConfig(height=arguments.height, width=arguments.width, curriculum=0), seed=0)
    scenes = [dataset.generator.scene(index).image for index in range(100)]
    effects = PhotometricConfig()
    rng = np.random.default_rng(0)
    rows = {
        "whole sample": milliseconds(dataset.__getitem__, count),
        "  scene": milliseconds(dataset.generator.scene, count),
        "  photometric": milliseconds(lambda i: augment_photometric(scenes[i % 100], effects, rng), count),
    }
    for name in PRIMITIVES:
        rows[f"    {name}"] = milliseconds(lambda i, name=name: dataset.generator.scene(i, name), max(count // 10, 50))
    print(f"{arguments.height}x{arguments.width}, {count} samples, one core, ms a sample (best of 3 rounds)")
    for name, value in rows.items():
        print(f"{name:24s} {value:6.2f}")


if __name__ == "__main__":
    main()
