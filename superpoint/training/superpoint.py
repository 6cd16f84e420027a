r"""Stage train-superpoint: labelled photographs and the weights of a detector in, detector and descriptor out.

    superpoint train-superpoint --config configs/superpoint/lite.yaml \
        data.kind=labelled data.labels=labels.h5 data.images=photos run=runs/superpoint-lite
    superpoint train-superpoint data.overfit=1 train.steps=200 train.ema=0 run=runs/one-pair
    torchrun --nproc-per-node 2 scripts/train_superpoint.py --config configs/superpoint/vgg.yaml ...

Ends with weights.safetensors; in evaluation/ the tables of matching and homography estimation on generated pairs beside
SIFT, some matches drawn, and the synthetic-shapes tables; in doctor/ the findings of the checks; and report.html.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table

from superpoint.config import TEST_SEED, SuperPointConfig, dump_config
from superpoint.data.pairs import KINDS
from superpoint.data.training_set import training_pairs
from superpoint.engine import RunFolder, TrainResult, make_fabric, train
from superpoint.evaluation.evaluate_synthetic import evaluate_run
from superpoint.evaluation.synthetic import markdown_table
from superpoint.files import make_folder, write_atomically
from superpoint.models import build_model, load_network
from superpoint.models.weights import export_weights
from superpoint.training.magicpoint import WEIGHTS, load_start, write_run_report
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
from superpoint.training.probes import DetectorProbe
from superpoint.visualize import save_image

COLUMNS = ("correct@1", "correct@3", "correct@5", "auc@5", "mma@1", "mma@3", "repeatability@1", "repeatability@3")


def train_superpoint(config: SuperPointConfig, *, resume: bool = False) -> TrainResult:
    """Train, export the best weights and evaluate them; everything goes to the run folder `config.run`."""
    dataset = training_pairs(config.data, config.seed)
    validate = PairValidation(config)
    fabric = make_fabric(config.train)
    # What weights or a checkpoint replace need not be there any more.
    new = config.weights is None and not (resume and RunFolder(config.run).last.exists())
    model, objective = build_model(config.model, config.seed, pretrained=new), joint_objective(config)
    if config.weights is None:
        objective.initialise(model.detector)
    else:
        fabric.print(load_start(model, config.weights))
    with RunFolder.open(config.run, config=dump_config(config), resume=resume, main=fabric.is_global_zero) as run:
        result = train(
            fabric=fabric,
            model=model,
            objective=objective,
            dataset=dataset,
            config=config.train,
            optimizer=config.optimizer,
            schedule=config.schedule,
            run=run,
            validate=validate,
            probe=DetectorProbe(),
            seed=config.seed,
            resume=resume,
            workers=config.data.workers,
            monitor_name="matching" if config.data.overfit else "AUC@5",
        )
    if fabric.is_global_zero and not result.interrupted:
        _finish(config, fabric, trained=bool(result.metrics))
    fabric.barrier()
    return result


def _finish(config: SuperPointConfig, fabric: Fabric, *, trained: bool) -> None:
    """Weights, tables and report; what a finished run that is resumed has already is kept."""
    weights = Path(config.run) / WEIGHTS
    if trained or not weights.exists():
        export_weights(
            RunFolder(config.run).best, weights, metadata={"stage": "superpoint", "run": Path(config.run).name}
        )
    fabric.print(f"weights: {weights}")
    if config.data.overfit:
        fabric.print("data.overfit: not evaluated on other pairs, since none was to be learnt from")
    else:
        evaluate_generated_pairs(config, keep=not trained)
        evaluate_run(config.run, images=config.validation.final_images, keep=not trained)
    if config.train.report and trained:
        write_run_report(config.run, fabric)


def evaluate_generated_pairs(config: SuperPointConfig, *, keep: bool = False) -> Path:
    """Network and SIFT on `validation.final_pairs` generated pairs that nothing was selected on, as a table.

    Writes evaluation/generated_pairs.json, .md and matches.png to the run folder.
    """
    folder = make_folder(Path(config.run) / "evaluation")
    report = folder / "generated_pairs.json"
    console = Console(width=max(Console().width, 150))
    if keep and report.exists():
        console.print(f"{folder}: evaluated before, see generated_pairs.md there")
        return report
    pairs = validation_pairs(config, config.validation.final_pairs, TEST_SEED)
    most = config.validation.max_keypoints
    results = {}
    for name in ("network", "sift"):
        describe = sift_describer(most) if name == "sift" else network_describer(load_network(config.run), most)
        with torch.inference_mode():
            features = describe_pairs(describe, pairs)
        measured = [measure_pair(*pair, *views) for pair, views in zip(pairs, features, strict=True)]
        results[name] = pair_metrics(measured)
        if name == "network":
            save_image(folder / "matches.png", matches_picture(pairs, features, measured))
    size = f"{config.validation.height}x{config.validation.width}"
    table = Table(title=f"{len(pairs)} generated pairs, {size}, {most} points, mutual nearest neighbours, RANSAC 3 px")
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
