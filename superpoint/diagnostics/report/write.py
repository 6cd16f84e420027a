"""Stage report: everything about a run, or several, on one page.

    superpoint report runs/quick
    superpoint report runs/a runs/b --out comparison.html

Reads the run folder and the images that are installed; trains nothing. The page needs no network and no other file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from superpoint.classification.case import read_classifier_case
from superpoint.classification.metrics import fit
from superpoint.classification.report import is_classifier, render_classifier_report
from superpoint.config import MagicPointConfig, load_run_config
from superpoint.data.images import read_rgb, sample_photographs
from superpoint.data.training_set import held_out_photographs, training_samples
from superpoint.diagnostics.checks.pairs import observe_pairs
from superpoint.diagnostics.dataset import draw_sample
from superpoint.diagnostics.overfit.correspondences import draw_places
from superpoint.diagnostics.reading import read_case
from superpoint.diagnostics.report import render_report
from superpoint.diagnostics.report.descriptors import is_joint
from superpoint.diagnostics.report.pictures import (
    DescriptorPictures,
    RunPictures,
    Subject,
    fit_cells,
    show_output,
    shrink,
)
from superpoint.diagnostics.report.record import RunRecord, read_records
from superpoint.errors import UserError
from superpoint.evaluation.evaluate_synthetic import shape_samples
from superpoint.evaluation.statistics import output_statistics
from superpoint.files import make_folder, write_atomically
from superpoint.geometry.homography import inside
from superpoint.models.weights import load_weights, model_from_state

SCENES = (("clean", 5), ("clean", 2), ("noisy", 7), ("noisy", 3))  # checkerboard, polygons, cube, ellipses (no labels)
PHOTOGRAPHS = ("camera", "motorcycle_left")
LONGEST = 320  # pixels of a photograph
SAMPLES = 12
HELD_OUT = 2  # photographs of a labelled training set
SHOWN_PAIRS = 2  # training pairs with their matches


def write_report(runs: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write the page of one run, or the comparison of several, and return where it is.

    Args:
        runs: run folders; the run may have just begun, be going on, or have failed: what is missing is said there.
        out: the file; by default report.html in the run folder, or comparison.html in that of the first of several.

    Raises:
        UserError: a folder is no run folder; the file cannot be written.
    """
    records = read_records(runs)
    name = "report.html" if len(records) == 1 else "comparison.html"
    target = Path(out) if out is not None else records[0].path / name
    if target.is_dir():
        raise UserError(f"{target}: found a folder, expected the name of an HTML file")
    kinds = {is_classifier(record) for record in records}
    if len(kinds) > 1:
        raise UserError("report: found classifiers beside detectors, expected runs of one kind")
    if kinds == {True}:
        text = render_classifier_report(records, _class_samples(records), time.time())
        make_folder(target.parent)
        write_atomically(target, lambda file: file.write(text.encode()))
        return target
    # The images are those of the first run for all, so that the networks are shown the same.
    subjects, notes = _subjects(records[0])
    pictures = {record.label: _outputs(record, subjects) for record in records}
    first = pictures[records[0].label]
    samples = _training_samples(records[0]) if len(records) == 1 else []
    found = _descriptors(records[0]) if len(records) == 1 and is_joint(records[0]) else None
    pictures[records[0].label] = replace(first, samples=samples, notes=[*notes, *first.notes], descriptors=found)
    text = render_report(records, pictures, time.time())
    make_folder(target.parent)
    write_atomically(target, lambda file: file.write(text.encode()))
    return target


def _class_samples(records: Sequence[RunRecord]) -> list[tuple[str, np.ndarray]]:
    """Training samples of a single classifier, with their classes; none if configuration or images cannot be read."""
    if len(records) > 1:
        return []
    try:
        case = read_classifier_case(records[0].path)
    except UserError:  # no checkpoint yet, or the images have moved
        return []
    samples = []
    for sample in case.samples(2 * SAMPLES):
        samples.append((case.spec.classes[int(sample["label"])], fit(np.moveaxis(sample["image"].numpy(), 0, -1))))
    return samples


def _descriptors(record: RunRecord) -> DescriptorPictures:
    """Similarities and matches of some training pairs, and those of the generated pairs if they have been measured."""
    pictures, notes = [], []
    positive = negative = np.zeros(0)
    try:
        seen = observe_pairs(read_case(record.path))
        positive, negative = seen.positive, seen.negative
        for index in range(min(SHOWN_PAIRS, len(seen.batch["image_a"]))):
            views = [seen.batch[f"image_{name}"][index, 0].numpy() for name in ("a", "b")]
            points = [seen.batch[f"places_{name}"][index].numpy() for name in ("a", "b")]
            drawn = draw_places(views, points, seen.forth.of_image(index), max(1, 480 // views[0].shape[1]))
            pictures.append((f"Training pair {index + 1}: places joined with their nearest descriptor", drawn))
    except UserError as error:  # no checkpoint yet, the labelled photographs have moved
        notes.append(f"No descriptors of training pairs: {error}.")
    matches = record.path / "evaluation" / "matches.png"
    if matches.is_file():
        try:
            pictures.append(("Generated pairs of held-out photographs", read_rgb(matches)))
        except UserError as error:
            notes.append(f"{error}.")
    return DescriptorPictures(positive, negative, pictures, notes)


def _outputs(record: RunRecord, subjects: Mapping[str, Sequence[Subject]]) -> RunPictures:
    """What the best weights of a run make of the images; what cannot be done becomes a note."""
    try:
        model, weights = _best_network(record)
        outputs = {group: [show_output(model, one) for one in chosen] for group, chosen in subjects.items()}
    except UserError as error:  # no checkpoint yet, another architecture, output that is not finite
        return RunPictures(notes=[f"No heatmaps: {error}."])
    return RunPictures(
        weights=weights,
        outputs=[output for found in outputs.values() for output in found],
        statistics={
            group: output_statistics(fit_cells([output.logits for output in found])) for group, found in outputs.items()
        },
    )


def _best_network(record: RunRecord) -> tuple[torch.nn.Module, str]:
    """The network with the weights that `load_weights` takes from a run folder, and these in words."""
    state, model_config, metadata = load_weights(record.path)
    model = model_from_state(state, model_config, record.path).eval()
    if "checkpoint" not in metadata:
        return model, "weights.safetensors"
    averaged = "" if record.config.get("train.ema") in ("0.0", "0") else ", averaged"
    return model, f"{metadata['checkpoint']}, step {metadata['step']:,}{averaged}"


def _subjects(record: RunRecord) -> tuple[dict[str, list[Subject]], list[str]]:
    """Scenes of the validation (of a run that overfits: its samples) and photographs; notes on what is missing."""
    config, notes = MagicPointConfig(), []
    try:
        config = load_run_config(record.path / "config.yaml")
    except UserError as error:
        notes.append(f"{error}; scenes of the default size are shown.")
    subjects: dict[str, list[Subject]] = {}
    try:
        subjects["overfitted samples" if config.data.overfit else "synthetic scenes"] = _scenes(config)
        if config.data.kind != "synthetic" and not config.data.overfit:
            held_out = held_out_photographs(config.data, HELD_OUT)
            names = (f"held-out photograph {number}" for number in range(HELD_OUT))
            subjects["held-out photographs"] = [
                Subject(name, *pair) for name, pair in zip(names, held_out, strict=False)
            ]
    except UserError as error:  # the labelled photographs of the run have moved
        notes.append(f"No photographs of the training set: {error}.")
    try:
        photographs = [Subject(name, shrink(rgb, LONGEST)) for name, rgb in sample_photographs() if name in PHOTOGRAPHS]
        subjects |= {"photographs": photographs} if photographs else {}
    except UserError as error:  # scikit-image is an optional dependency
        notes.append(f"No photographs: {error}.")
    return subjects, notes


def _training_samples(record: RunRecord) -> list[tuple[str, np.ndarray]]:
    """Samples as the run sees them once its curriculum is over; none if configuration or data cannot be read."""
    samples = []
    try:
        config = load_run_config(record.path / "config.yaml")
        dataset = training_samples(config.data, config.seed)
        first, count = config.data.curriculum, SAMPLES
        if config.data.overfit:
            first, count = 0, min(SAMPLES, config.data.overfit)
        for index in range(first, first + count):
            image, points, _ = dataset.draw(index)
            labels = int(inside(points, *image.shape).sum())
            picture = draw_sample(dataset, index, max(1, 256 // config.data.width))
            samples.append((f"sample {index}: {labels} labels", picture))
    except UserError:  # the notes on the heatmaps and the section on the configuration say why
        return samples
    return samples


def _scenes(config: MagicPointConfig) -> list[Subject]:
    data = config.data
    if data.overfit:
        dataset = training_samples(data, config.seed)
        drawn = ((index, dataset.draw(index)) for index in range(min(len(SCENES), data.overfit)))
        return [Subject(f"overfitted sample {index}", image, points) for index, (image, points, _) in drawn]
    subjects = []
    for variant, index in SCENES:
        samples = shape_samples(variant, data.height, data.width, index + 1, config.validation.seed)
        name, image, points = list(samples)[index]
        subjects.append(Subject(f"{name}, {variant} (validation scene {index})", image, points))
    return subjects
