"""Stage finetune: a SuperPoint and a folder of photographs in, a SuperPoint that has learnt from them out.

    superpoint finetune --images photos
    superpoint finetune --images photos --weights runs/mine --labels labels.h5 run=runs/thermal
    superpoint finetune --images photos run=runs/thermal --resume

Labels the photographs by homographic adaptation (labels/, unless a feature file is given), trains on them (training/, a
run folder as of train-superpoint), and measures before and after, with SIFT beside, on generated pairs of those
photographs that were held out: finetune.md, finetune.json, matches_before.png, matches_after.png. Killed at any
instant, the same command with --resume goes on where it was.

The same held-out photographs, as other pairs, chose the checkpoint that is kept, so "after" is a little flattered.
"""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from superpoint.config import TEST_SEED, FinetuneConfig, ModelConfig, SuperPointConfig, dump_config, load_config
from superpoint.config.labelling import MAY_CHANGE
from superpoint.config.model import FINE
from superpoint.data.feature_file import FeatureFile
from superpoint.data.sources.source import open_source
from superpoint.data.training_set import held_out_source
from superpoint.engine.resume import config_differences
from superpoint.engine.run import WEIGHTS
from superpoint.errors import UserError
from superpoint.evaluation.synthetic import markdown_table
from superpoint.files import make_folder, write_atomically
from superpoint.labelling.export import export_detections
from superpoint.models import load_network
from superpoint.models.weights import load_weights
from superpoint.pretrained import pretrained_names
from superpoint.training.fit import Conclude
from superpoint.training.pair_validation import (
    describe_pairs,
    matches_picture,
    measure_pair,
    network_describer,
    pair_metrics,
    sift_describer,
    too_few,
    validation_pairs,
)
from superpoint.training.superpoint import train_superpoint
from superpoint.visualize import save_image

SETTINGS, BEFORE, RESULT, LABELS = "finetune.yaml", "before.json", "finetune.json", "labels.h5"
DEFAULT = ("superpoint-lite", "superpoint", "magicpoint-compact")  # the first that is there
MIN_IMAGES = 8  # photographs
COLUMNS = (
    *("correct@1", "correct@3", "correct@5", "auc@5"),
    *("mma@1", "mma@3", "repeatability@1", "repeatability@3", "localisation"),
)
DETECTION = ("repeatability@1", "repeatability@3", "localisation")  # what weights without descriptors have too
NOTICED = 0.01  # of AUC@5: less is noise


def finetune(config: FinetuneConfig, *, resume: bool = False, conclude: Conclude | None = None) -> int | None:
    """Label, train, compare; returns the signal that stopped it, None if it is complete.

    Raises:
        UserError: no folder of at least MIN_IMAGES photographs, or too few of them readable; weights or labels that
            cannot be used; a run folder in use without `resume`, or of other settings; under torchrun.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("finetune: found several processes (torchrun), expected one; for several call train-superpoint")
    folder, console = Path(config.run), Console(stderr=True)
    images = _checked_images(config)
    weights, note = start_weights(config.weights)
    model, described = start_model(weights)
    if config.labels is not None:
        check_labels(Path(config.labels), images)
    begun = folder.exists() and any(each.name != SETTINGS for each in folder.iterdir())
    if begun and not resume:
        raise UserError(f"run={folder}: the folder is not empty; go on with it by --resume, or take another run=...")
    make_folder(folder)
    _keep_settings(folder, config, begun)
    if note:
        console.print(note, soft_wrap=True)
    labels = Path(config.labels) if config.labels is not None else folder / "labels" / LABELS
    if config.labels is None:
        console.rule(f"labels of {weights}")
        make_folder(labels.parent)
        export = replace(config.labelling, weights=weights)
        exported = export_detections(export, [str(images)], labels, root=images, resume=True)
        if exported.signal is not None:
            return exported.signal
        check_labels(labels, images)
    training = config.of_training(model, weights, str(labels), str(images))
    if not (folder / BEFORE).exists():
        console.rule("before")
        found = measure(training, weights, described, folder / "matches_before.png")
        write_atomically(folder / BEFORE, lambda file: file.write(json.dumps(found, indent=1).encode()))
    console.rule("training")
    trained = train_superpoint(training, resume=True)
    if trained.signal is not None:
        return trained.signal
    if conclude is not None:
        conclude(training, trained)
    if not (folder / RESULT).exists():
        console.rule("after")
        after = measure(training, str(Path(training.run) / WEIGHTS), True, folder / "matches_after.png")
        before = json.loads((folder / BEFORE).read_text(encoding="utf-8"))
        result = {"before": before, "after": after, "sift": measure(training, None, True)}
        write_atomically(folder / RESULT, lambda file: file.write(json.dumps(result, indent=1).encode()))
    _write_summary(folder, training)
    return None


def _checked_images(config: FinetuneConfig) -> Path:
    if config.images is None:
        raise UserError("--images: expected a folder of photographs")
    if not Path(config.images).is_dir():
        raise UserError(f"--images: found '{config.images}', expected a folder of photographs")
    count = len(open_source([config.images]))
    if count < MIN_IMAGES:
        raise UserError(
            f"--images {config.images}: found {count} photographs, expected at least {MIN_IMAGES} "
            "(some hundred do good)"
        )
    return Path(config.images)


def start_weights(weights: str | None) -> tuple[str, str]:
    """Return what training starts from, and what to say about that choice (empty if it was given)."""
    if weights is not None:
        return weights, ""
    pretrained = pretrained_names()
    chosen = next((name for name in DEFAULT if name in pretrained), None)
    if chosen is None:
        raise UserError(f"--weights: expected a run folder, weights or one of {', '.join(pretrained) or 'no names'}")
    if chosen == DEFAULT[0]:
        return chosen, f"weights: {chosen}"
    return chosen, f"weights: {DEFAULT[0]} is not part of this version, so training starts from {chosen}"


def start_model(weights: str) -> tuple[ModelConfig, bool]:
    """Return the network of `weights`, with descriptors, and whether they have these already.

    A MagicPoint gets a new descriptor head, of 64 dimensions if it is a small one, else of 256, and a fine branch if
    it has none and its encoder can have one: the labels are sharpened, and without it that is mostly lost.
    """
    load_network(weights)  # whether they fit a network known here
    found = load_weights(weights)[1]
    model = ModelConfig(**{key: value for key, value in found.items() if key in {f.name for f in fields(ModelConfig)}})
    model = replace(model, encoder_weights=None)  # `weights` replace them, and their file may be gone
    if model.descriptor_dim:
        return model, True
    fine = model.fine or FINE.get(model.encoder, 0)
    return replace(model, fine=fine, descriptor_dim=64 if model.head_channels <= 128 else 256), False


def check_labels(path: Path, images: Path) -> None:
    """Check a feature file. Raises: UserError unless it labels at least MIN_IMAGES images below `images`."""
    with FeatureFile(path) as labels:
        named = labels.names()
        usable = sum((images / name).is_file() for name in named)
        reasons = labels.skipped()
    if usable < MIN_IMAGES:
        first = next((f"; {name}: {reason}" for name, reason in reasons.items()), "")
        raise UserError(
            f"{path}: found labels of {usable} photographs in {images}, expected at least {MIN_IMAGES} "
            f"({len(reasons)} could not be read{first})"
        )


def _keep_settings(folder: Path, config: FinetuneConfig, begun: bool) -> None:
    """Write finetune.yaml or, once there are results, find that it says the same."""
    path = folder / SETTINGS
    if begun and path.exists():
        load_config(FinetuneConfig, path)  # damaged, or of another version: said in one line
        free = {"run", *(f"labelling.{key}" for key in MAY_CHANGE)}
        for key, old, new in config_differences(path.read_text(encoding="utf-8"), dump_config(config)):
            if key not in free:
                raise UserError(
                    f"{path}: {key}: found {new}, but the run was begun with {old}; set it back or take another run=..."
                )
    write_atomically(path, lambda file: file.write(dump_config(config).encode()))


def measure(
    config: SuperPointConfig, weights: str | None, described: bool, picture: Path | None = None
) -> dict[str, float]:
    """Measure a network, or SIFT (None), on generated pairs of held-out photographs that nothing is selected on.

    Weights without descriptors have figures of detection only.
    """
    pairs = validation_pairs(config, config.validation.final_pairs, TEST_SEED)
    max_keypoints = config.validation.max_keypoints
    with torch.inference_mode():
        if weights is None:
            features = describe_pairs(sift_describer(max_keypoints), pairs)
        else:
            features = describe_pairs(network_describer(load_network(weights), max_keypoints), pairs)
    measured = [measure_pair(*pair, *views) for pair, views in zip(pairs, features, strict=True)]
    if picture is not None and described:
        save_image(picture, matches_picture(pairs, features, measured))
    found = pair_metrics(measured)
    return {key: found[f"pairs/{key}"] for key in (COLUMNS if described else DETECTION)} | {"pairs": len(pairs)}


def _write_summary(folder: Path, training: SuperPointConfig) -> None:
    result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    table = comparison(result, training)
    sentence = verdict(result, len(held_out_source(training.data)))
    weights = Path(training.run) / WEIGHTS
    console = Console(width=max(Console().width, 140))
    console.print(table)
    lines = [sentence, f"weights: {weights}", f"report: {Path(training.run) / 'report.html'}", f"tables: {folder}"]
    console.print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)
    text = f"{table.title}\n\n{markdown_table(table)}\n{sentence}\n\n" + "".join(f"- {line}\n" for line in lines[1:])
    write_atomically(folder / "finetune.md", lambda file: file.write(text.encode()))


def comparison(result: dict[str, dict[str, Any]], training: SuperPointConfig) -> Table:
    """Return the table of before, after and SIFT."""
    size = f"{training.validation.height}x{training.validation.width}"
    table = Table(
        title=f"{result['after']['pairs']} generated pairs of held-out photographs, {size}, "
        f"{training.validation.max_keypoints} points, mutual nearest neighbours, RANSAC 3 px"
    )
    table.add_column("features")
    for column in COLUMNS:
        table.add_column("px" if column == "localisation" else column, justify="right")
    for name, found in result.items():
        table.add_row(name, *(f"{found[key]:.3f}" if key in found else "-" for key in COLUMNS))
    return table


def verdict(result: dict[str, dict[str, Any]], photographs: int) -> str:
    """Return in a sentence whether it was worth it. Nothing is called better on fewer than FEW held-out photographs."""
    few = too_few(photographs, "training.data.holdout")
    before, after = result["before"].get("auc@5"), result["after"]["auc@5"]
    if before is None:
        return f"The weights had no descriptors before; now AUC@5 of homographies is {after:.3f}. {few}".rstrip()
    change = f"AUC@5 of homographies on held-out photographs: {before:.3f} before, {after:.3f} after"
    if after < before - NOTICED:
        advice = "keep the weights you had; try a lower training.optimizer.lr, or more photographs"
        return f"{change}. WORSE: {advice}. {few}".rstrip()
    if few:
        return f"{change}. {few}"
    if after > before + NOTICED:
        return f"{change}. Better: take the new weights."
    return f"{change}. No difference to speak of: train longer (training.train.minutes), or on more photographs."
