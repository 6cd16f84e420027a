"""Stage evaluate: a trained detector on synthetic shapes, beside FAST, Harris and Shi-Tomasi on the same images.

Scenes of 120x160, the nine primitives in turn, default settings whatever the network was trained on. Writes
evaluation/synthetic.json, .md and precision_recall_*.png into the run folder.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from superpoint.config import TEST_SEED, PhotometricConfig, SyntheticConfig
from superpoint.data.photometric import augment_photometric
from superpoint.data.synthetic import PRIMITIVES, ShapeGenerator
from superpoint.engine.display import watch
from superpoint.errors import UserError
from superpoint.evaluation.classical import classical_detector
from superpoint.evaluation.synthetic import (
    DECODE,
    Detect,
    Image,
    Sample,
    evaluate_synthetic,
    precision_recall_curves,
    primitive_table,
    summary_table,
)
from superpoint.evaluation.tables import publish
from superpoint.features import Features
from superpoint.files import make_folder, write_json
from superpoint.models import SuperPoint, load_network
from superpoint.models.extract import features
from superpoint.pretrained import run_of
from superpoint.visualize import precision_recall_figure, save_figure, to_gray

VARIANTS = ("clean", "noisy")
CLASSICAL = ("fast", "harris", "shi")


def network_detector(model: nn.Module, valid: Sequence[np.ndarray] = ()) -> Detect:
    """Return `model` as a function of images, by the protocol; `valid`: where keypoints count, image by image."""
    masks = iter(valid)

    def detect(images: Sequence[Image]) -> list[Features]:
        allowed = torch.from_numpy(np.stack([next(masks) for _ in images])) if len(valid) else None
        return features(model, images, DECODE, valid=allowed)

    return detect


def shape_samples(variant: str, height: int, width: int, count: int, seed: int, channels: int = 1) -> Iterator[Sample]:
    """Yield `count` scenes, the nine primitives in turn, with default settings; "noisy" adds photometric effects."""
    generator = ShapeGenerator(SyntheticConfig(), height, width, seed, channels)
    effects, names = PhotometricConfig(), list(PRIMITIVES)
    for index in range(count):
        scene = generator.scene(index, names[index % len(names)])
        image = scene.image
        if variant == "noisy":
            image = augment_photometric(image, effects, np.random.default_rng([seed, index]))
        yield scene.primitive, image, scene.points


def evaluate_synthetic_shapes(
    model: SuperPoint, *, images: int, height: int = 120, width: int = 160, seed: int = TEST_SEED
) -> list[dict[str, Any]]:
    """Return the results of the network and of each classical detector, clean and noisy, on the same scenes.

    Classical detectors see the mean of several channels.
    """
    detectors: dict[str, Detect] = {"network": network_detector(model)}
    for name in CLASSICAL:
        find = classical_detector(name, nms_radius=DECODE.nms_radius, border=DECODE.border)
        detectors[name] = lambda images, find=find: (find(to_gray(image)) for image in images)
    results = []
    for variant in VARIANTS:
        scenes = shape_samples(variant, height, width, images, seed, model.channels)
        samples = list(watch(scenes, f"{variant} shapes", images))
        for name, detect in detectors.items():
            shown = watch(samples, f"{name} on {variant} shapes")
            results.append(evaluate_synthetic(detect, shown, detector=name, variant=variant))
    for result in results:
        result["scenes"] = {"generator": "default SyntheticConfig", "height": height, "width": width, "seed": seed}
        result["scenes"]["noise"] = "default PhotometricConfig" if result["variant"] == "noisy" else None
    return results


def evaluate_run(source: str | Path, *, images: int = 1000, out: str | Path | None = None, keep: bool = False) -> Path:
    """Evaluate a network, print the tables and write them to `out` or, of a run folder, to its folder evaluation.

    Args:
        source: run folder, weights file or name, see `load_network`.
        keep: do nothing if there is a result.

    Raises: UserError if there is no such network, or `out` is None and `source` is not a run folder.
    """
    if out is None:
        run = run_of(source)
        if run is None:
            load_network(source)  # a name mistyped is not a missing --out
            raise UserError(f"{source}: not a run folder; say with --out where the tables should go")
        out = run / "evaluation"
    folder = Path(out)
    report = folder / "synthetic.json"
    if keep and report.exists():
        print(f"{folder}: evaluated before, see synthetic.md there")
        return report
    model = load_network(source)
    make_folder(folder)
    with torch.inference_mode():
        results = evaluate_synthetic_shapes(model, images=images)
    publish(folder / "synthetic.md", [summary_table(results), primitive_table(results, 4)])
    for variant in VARIANTS:
        curves = precision_recall_curves([r for r in results if r["variant"] == variant], 4)
        figure = precision_recall_figure(curves, f"Synthetic shapes, {variant}, matches within 4 px")
        save_figure(folder / f"precision_recall_{variant}.png", figure)
    write_json(report, results)  # last: its presence says that all is there
    print(f"tables and curves: {folder}")
    return report
