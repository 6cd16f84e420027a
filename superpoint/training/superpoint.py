r"""Stage train-superpoint: labelled photographs and the weights of a detector in, detector and descriptor out.

    superpoint train-superpoint --config superpoint/lite \
        data.kind=labelled data.labels=labels.h5 data.images=photos run=runs/superpoint-lite
    superpoint train-superpoint data.overfit=1 train.steps=200 train.ema=0 run=runs/one-pair
    torchrun --nproc-per-node 2 scripts/train_superpoint.py --config superpoint/vgg ...

Leaves weights.safetensors; the command adds in evaluation/ the tables of matching and homography estimation on
generated pairs beside SIFT, some matches drawn, and the synthetic-shapes tables; in doctor/ the findings of the checks;
and report.html.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from superpoint.config import TEST_SEED, SuperPointConfig
from superpoint.data.pairs import KINDS
from superpoint.data.training_set import training_pairs
from superpoint.engine import TrainResult, make_fabric
from superpoint.evaluation.synthetic import markdown_table
from superpoint.files import make_folder, write_atomically
from superpoint.models import load_network
from superpoint.training.fit import finish, fit
from superpoint.training.magicpoint import initial_model, write_weights
from superpoint.training.pair_validation import (
    PairValidation,
    describe_pairs,
    joint_objective,
    matches_picture,
    measure_pair,
    network_describer,
    pair_metrics,
    sift_describer,
    validation_pairs,
)
from superpoint.visualize import save_image

COLUMNS = ("correct@1", "correct@3", "correct@5", "auc@5", "mma@1", "mma@3", "repeatability@1", "repeatability@3")


def train_superpoint(config: SuperPointConfig, *, resume: bool = False) -> TrainResult:
    """Train and write the best weights; everything goes to the run folder `config.run`."""
    dataset = training_pairs(config.data, config.seed)
    validate = PairValidation(config)
    fabric = make_fabric(config.train)
    model = initial_model(config, resume=resume, say=fabric.print)
    result = fit(config, fabric, model, joint_objective(config), dataset, validate, resume=resume)
    finish(config, fabric, result, partial(write_weights, stage="superpoint"))
    return result


def evaluate_generated_pairs(config: SuperPointConfig, *, keep: bool = False) -> Path:
    """Measure network and SIFT on `validation.final_pairs` generated pairs that nothing was selected on.

    Writes evaluation/generated_pairs.json, .md and matches.png to the run folder.
    """
    folder = make_folder(Path(config.run) / "evaluation")
    report = folder / "generated_pairs.json"
    console = Console(width=max(Console().width, 150))
    if keep and report.exists():
        console.print(f"{folder}: evaluated before, see generated_pairs.md there")
        return report
    pairs = validation_pairs(config, config.validation.final_pairs, TEST_SEED)
    limit = config.validation.max_keypoints
    results = {}
    for name in ("network", "sift"):
        describe = sift_describer(limit) if name == "sift" else network_describer(load_network(config.run), limit)
        with torch.inference_mode():
            features = describe_pairs(describe, pairs)
        measured = [measure_pair(*pair, *views) for pair, views in zip(pairs, features, strict=True)]
        results[name] = pair_metrics(measured)
        if name == "network":
            save_image(folder / "matches.png", matches_picture(pairs, features, measured))
    size = f"{config.validation.height}x{config.validation.width}"
    table = Table(title=f"{len(pairs)} generated pairs, {size}, {limit} points, mutual nearest neighbours, RANSAC 3 px")
    table.add_column("features")
    table.add_column("pairs")
    for column in (*COLUMNS, "px", "matches"):
        table.add_column(column, justify="right")
    for name, found in results.items():
        for kind in ("pairs", *KINDS):
            values = [f"{found[f'{kind}/{column}']:.3f}" for column in COLUMNS]
            rest = [f"{found[f'{kind}/localisation']:.2f}", f"{found[f'{kind}/matches']:.0f}"]
            table.add_row(name, "all" if kind == "pairs" else kind, *values, *rest)
    console.print(table)
    write_atomically(folder / "generated_pairs.md", lambda file: file.write(_markdown(table).encode()))
    write_atomically(report, lambda file: file.write(json.dumps(results, indent=1).encode()))
    return report


def _markdown(table: Table) -> str:
    return f"{table.title}; px = mean distance of repeated points\n\n{markdown_table(table)}"
