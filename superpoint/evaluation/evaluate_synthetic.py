"""Stage evaluate: a trained detector on synthetic shapes, beside FAST, Harris and Shi-Tomasi on the same images.

    superpoint evaluate synthetic --model runs/quick

Scenes of 120x160, the nine primitives in turn, default settings whatever the network was trained on. Writes
evaluation/synthetic.json, .md and precision_recall_*.png into the run folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from superpoint.config import TEST_SEED, DecodeConfig, PhotometricConfig, SyntheticConfig
from superpoint.data.photometric import augment_photometric
from superpoint.data.synthetic import PRIMITIVES, ShapeGenerator
from superpoint.errors import UserError
from superpoint.evaluation.classical import classical_detector
from superpoint.evaluation.synthetic import (
    Sample,
    SyntheticProtocol,
    evaluate_synthetic,
    evaluate_synthetic_batched,
    markdown_table,
    precision_recall_curves,
    primitive_table,
    summary_table,
    synthetic_samples,
)
from superpoint.files import make_folder, write_atomically
from superpoint.models import load_network
from superpoint.models.extract import features
from superpoint.visualize import precision_recall_figure, save_figure

VARIANTS = ("clean", "noisy")
CLASSICAL = ("fast", "harris", "shi")


def batch_detector(
    model: nn.Module, protocol: SyntheticProtocol
) -> Callable[[np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
    """`model` as a function of images uint8 [B, H, W] -> for each image points [N, 2] and scores [N]."""
    settings = asdict(protocol)
    decode = DecodeConfig(**{each.name: settings[each.name] for each in fields(DecodeConfig)})
    return lambda images: [(found.keypoints, found.scores) for found in features(model, images, decode)]


def shape_samples(variant: str, height: int, width: int, count: int, seed: int) -> Iterator[Sample]:
    """`count` scenes, the nine primitives in turn, with the default settings; "noisy" adds the photometric effects."""
    generator = ShapeGenerator(SyntheticConfig(), height, width, seed)
    effects = PhotometricConfig()

    def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return augment_photometric(image, effects, rng)

    noise = add_noise if variant == "noisy" else None
    return synthetic_samples(generator, count, primitives=list(PRIMITIVES), noise=noise, seed=seed)


def evaluate_synthetic_shapes(
    model: nn.Module, *, images: int, height: int = 120, width: int = 160, seed: int = TEST_SEED
) -> list[dict[str, Any]]:
    """Results of the network and of each classical detector, clean and noisy, on the same `images` scenes."""
    protocol = SyntheticProtocol()
    results = []
    for variant in VARIANTS:
        samples = list(shape_samples(variant, height, width, images, seed))
        detect = batch_detector(model, protocol)
        results.append(
            evaluate_synthetic_batched(detect, samples, detector="network", variant=variant, protocol=protocol)
        )
        for name in CLASSICAL:
            classical = classical_detector(name, nms_radius=protocol.nms_radius, subpixel=True, border=protocol.border)
            results.append(evaluate_synthetic(classical, samples, detector=name, variant=variant, protocol=protocol))
    for result in results:
        result["scenes"] = {"generator": "default SyntheticConfig", "height": height, "width": width, "seed": seed}
        result["scenes"]["noise"] = "default PhotometricConfig" if result["variant"] == "noisy" else None
    return results


def _is_run(folder: Path) -> bool:
    """Whether there are weights in it, as in a run; the package's own folder has the name of pretrained weights."""
    return (folder / "weights.safetensors").is_file() or any((folder / "checkpoints").glob("*.ckpt"))


def evaluate_run(source: str | Path, *, images: int = 1000, out: str | Path | None = None, keep: bool = False) -> Path:
    """Evaluate a network, print the tables and write them to `out` or, of a run folder, to its folder evaluation.

    Args:
        source: run folder, weights file or name, see `load_network`.
        keep: do nothing if there is a result.

    Raises:
        UserError: no such network; `out` is None and `source` is not a run folder, such as the name of weights
            (even where a folder that is no run is called so).
    """
    if out is None and not _is_run(Path(source)):
        load_network(source)  # a name mistyped is not a missing --out
        raise UserError(f"{source}: not a run folder; say with --out where the tables should go")
    folder = Path(out) if out is not None else Path(source) / "evaluation"
    report = folder / "synthetic.json"
    console = Console(width=max(Console().width, 150))  # narrower, the tables' names would be cut off
    if keep and report.exists():
        console.print(f"{folder}: evaluated before, see synthetic.md there")
        return report
    model = load_network(source)
    make_folder(folder)
    with torch.inference_mode():
        results = evaluate_synthetic_shapes(model, images=images)
    summary = summary_table(results)
    primitives = primitive_table(results, 4)
    console.print(summary)
    console.print(primitives)

    text = f"{summary.title}\n\n{markdown_table(summary)}\n{primitives.title}\n\n{markdown_table(primitives)}"
    write_atomically(folder / "synthetic.md", lambda file: file.write(text.encode()))
    for variant in VARIANTS:
        curves = precision_recall_curves([r for r in results if r["variant"] == variant], 4)
        figure = precision_recall_figure(curves, f"Synthetic shapes, {variant}, matches within 4 px")
        save_figure(folder / f"precision_recall_{variant}.png", figure)
    # Last, so that its presence says that all is there.
    write_atomically(report, lambda file: file.write(json.dumps(results, indent=1).encode()))
    console.print(f"tables and curves: {folder}")
    return report
