"""Milliseconds of each matcher on a pair of photographs, beside those of the network on both.

    python benchmarks/matchers.py [--matcher runs/matcher] [--model superpoint-lite] [--keypoints 1024] [--out F.json]

Neighbouring photographs of scikit-image at 480x640. LightGlue looks at all layers and keypoints ("whole"), or, at
kornia's defaults, leaves early and drops keypoints without a match ("early exit"): that takes a trained --matcher;
without one its weights are random and "whole" alone means anything. All take turns, so that other load on the machine
meets all alike; medians of --rounds.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from kornia.feature import LightGlue
from rich.console import Console
from rich.table import Table

from superpoint.data.images import resize_with_points, sample_photographs
from superpoint.engine.environment import describe_environment
from superpoint.files import write_json
from superpoint.inference import load_model
from superpoint.matching import match
from superpoint.matching.lightglue import lightglue_input
from superpoint.models.lightglue import build_matcher, load_matcher_network

SIZE = 480, 640
LOWEST = 0.0001  # probability of a keypoint, so low that there are --keypoints of them
EARLY = {"whole": (-1, -1), "early exit": (0.95, 0.99)}  # depth_confidence, width_confidence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matcher", help="run folder, weights or name; without it random weights of matcher/lite")
    parser.add_argument("--model", default="superpoint-lite")
    parser.add_argument("--keypoints", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    matcher: Any = load_matcher_network(arguments.matcher) if arguments.matcher else None
    if matcher is None:
        matcher = build_matcher(model.descriptor_dim, 128, 5, 4).eval()
    none = np.zeros((0, 2), np.float32)
    grey = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for _, image in sample_photographs())
    images = [resize_with_points(np.asarray(each, np.uint8), none, SIZE)[0] for each in grey]

    def detect(index: int) -> list[Any]:
        both = images[index], images[(index + 1) % len(images)]
        return [model.detect(each, threshold=LOWEST, max_keypoints=arguments.keypoints) for each in both]

    def lightglue(pair: list[Any], kind: str) -> None:
        matcher.conf.depth_confidence, matcher.conf.width_confidence = EARLY[kind]
        with torch.no_grad():
            LightGlue.forward(matcher, lightglue_input(*pair))

    rows: dict[str, Callable[[int, list[Any]], object]] = {"network, both images": lambda index, _: detect(index)}
    for method in ("mutual", "ratio", "dual_softmax"):
        rows[method] = lambda _, pair, method=method: match(pair[0], pair[1], method)
    for kind in EARLY if arguments.matcher else ("whole",):
        rows[f"lightglue, {kind}"] = lambda _, pair, kind=kind: lightglue(pair, kind)
    spent: dict[str, list[float]] = {name: [] for name in rows}
    counts: list[int] = []
    for number in range(arguments.rounds + 1):  # the first one warms up
        index = number % len(images)
        pair = detect(index)
        counts += map(len, pair)
        for name, run in rows.items():
            start = time.perf_counter()
            run(index, pair)
            spent[name].append(1e3 * (time.perf_counter() - start))
    found = {name: float(np.median(times[1:])) for name, times in spent.items()}
    machine = describe_environment()
    where = f"{machine['cpu']}, {torch.get_num_threads()} threads"
    title = f"{arguments.model}, {np.median(counts):.0f} keypoints an image; {where}"
    table = Table("", "ms a pair", title=title)
    for name, value in found.items():
        table.add_row(name, f"{value:.1f}")
    Console().print(table)
    if arguments.out:
        settings = {"matcher": arguments.matcher, "model": arguments.model, "keypoints": arguments.keypoints}
        write_json(arguments.out, {**settings, "threads": torch.get_num_threads(), "milliseconds": found})


if __name__ == "__main__":
    main()
