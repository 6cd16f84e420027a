"""Stage report: everything about a run, or several, on one page.

    superpoint report runs/quick
    superpoint report runs/a runs/b --out comparison.html

Reads the run folder and the images that are installed; trains nothing. The page needs no network and no other file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from superpoint.config import MagicPointConfig, load_run_config
from superpoint.data.images import sample_photographs
from superpoint.data.training_set import held_out_photographs, training_samples
from superpoint.diagnostics.checks.pairs import observe_pairs
from superpoint.diagnostics.dataset import draw_sample
from superpoint.diagnostics.overfit.correspondences import draw_correspondences
from superpoint.diagnostics.reading import read_case
from superpoint.diagnostics.report.page import Section, render_page
from superpoint.diagnostics.report.pictures import (
    DescriptorPictures,
    Picture,
    RunPictures,
    Subject,
    fit_cells,
    read_picture,
    show_output,
    shrink,
)
from superpoint.diagnostics.report.record import RunRecord, read_records
from superpoint.diagnostics.report.sections import detector_sections, is_joint
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

Sections = Callable[[Sequence[RunRecord]], list[Section]]


def write_report(
    runs: Sequence[str | Path], out: str | Path | None = None, others: Mapping[str, Sections] | None = None
) -> Path:
    """Write the page of one run, or the comparison of several, and return where it is.

    Args:
        runs: run folders; the run may have just begun, be going on, or have failed: what is missing is said there.
        out: the file; by default report.html in the run folder, or comparison.html in that of the first of several.
        others: by stage, what makes the sections of runs that are not of a detector.

    Raises:
        UserError: a folder is no run folder; runs of different kinds; the file cannot be written.
    """
    records = read_records(runs)
    name = "report.html" if len(records) == 1 else "comparison.html"
    target = Path(out) if out is not None else records[0].path / name
    if target.is_dir():
        raise UserError(f"{target}: found a folder, expected the name of an HTML file")
    makers = [(others or {}).get(record.config.get("stage", ""), _detector_sections) for record in records]
    if len(set(makers)) > 1:
        stages = ", ".join(f"{record.label} ({record.config.get('stage', '?')})" for record in records)
        raise UserError(f"report: found {stages}, expected runs of one kind")
    text = render_page(records, makers[0](records))
    make_folder(target.parent)
    write_atomically(target, lambda file: file.write(text.encode()))
    return target


def _detector_sections(records: Sequence[RunRecord]) -> list[Section]:
    # The images are those of the first run for all, so that the networks are shown the same.
    subjects, notes = _subjects(records[0])
    pictures = {record.label: _outputs(record, subjects) for record in records}
    first = pictures[records[0].label]
    samples = _training_samples(records[0]) if len(records) == 1 else []
    found = _descriptors(records[0]) if len(records) == 1 and is_joint(records[0]) else None
    pictures[records[0].label] = replace(first, samples=samples, notes=[*notes, *first.notes], descriptors=found)
    return detector_sections(records, pictures)


def _descriptors(record: RunRecord) -> DescriptorPictures:
    """Similarities and matches of some training pairs, and those of the generated pairs if they have been measured."""
    pictures, notes = [], []
    positive = negative = np.zeros(0)
    try:
        seen = observe_pairs(read_case(record.path))
        positive, negative = seen.positive, seen.negative
        for index in range(min(SHOWN_PAIRS, len(seen.batch["image_a"]))):
            title = f"Training pair {index + 1}: correspondences joined with their nearest descriptor"
            pictures.append(Picture(title, draw_correspondences(seen.batch, seen.forth, index), quality=70))
    except UserError as error:  # no checkpoint yet, the labelled photographs have moved
        notes.append(f"No descriptors of training pairs: {error}.")
    matches = record.path / "evaluation" / "matches.png"
    generated, damage = read_picture(matches, "Generated pairs of held-out photographs", quality=70)
    return DescriptorPictures(positive, negative, [*pictures, *generated], [*notes, *damage])


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
            subjects["held-out photographs"] = [
                Subject(f"held-out photograph {number}", *pair) for number, pair in enumerate(held_out)
            ]
    except UserError as error:  # the labelled photographs of the run have moved
        notes.append(f"No photographs of the training set: {error}.")
    try:
        photographs = [Subject(name, shrink(rgb, LONGEST)) for name, rgb in sample_photographs() if name in PHOTOGRAPHS]
        subjects |= {"photographs": photographs} if photographs else {}
    except UserError as error:  # scikit-image is an optional dependency
        notes.append(f"No photographs: {error}.")
    return subjects, notes


def _training_samples(record: RunRecord) -> list[Picture]:
    """Samples as the run sees them once its curriculum is over; none if configuration or data cannot be read."""
    samples = []
    try:
        config = load_run_config(record.path / "config.yaml")
        dataset = training_samples(config.data, config.seed)
        first, count = (0, config.data.overfit) if config.data.overfit else (config.data.curriculum, SAMPLES)
        for index in range(first, first + min(SAMPLES, count)):
            image, points, _ = dataset.draw(index)
            labels = int(inside(points, *image.shape).sum())
            picture = draw_sample(dataset, index, max(1, 256 // config.data.width))
            samples.append(Picture(f"sample {index}: {labels} labels", picture))
    except UserError:  # the notes on the heatmaps and the section on the configuration say why
        pass
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
