"""The parts of a page for which a network is run, or training data are drawn."""

import numpy as np

from superpoint.config import MagicPointConfig, SuperPointConfig, load_run_config
from superpoint.data.labelled import cover
from superpoint.data.training_set import held_out_photographs, training_samples
from superpoint.diagnostics.checks.descriptors import observe_pairs
from superpoint.diagnostics.dataset import draw_sample
from superpoint.diagnostics.heatmaps.detector_output import Subject
from superpoint.diagnostics.heatmaps.visualize import load_checkpoint, shown_photographs
from superpoint.diagnostics.overfit.correspondences import draw_correspondences
from superpoint.diagnostics.reading import read_case
from superpoint.diagnostics.report.facts import rich_table
from superpoint.diagnostics.report.page import Content, Section
from superpoint.diagnostics.report.panels import descriptor_panels
from superpoint.diagnostics.report.pictures import Output, Picture, read_picture, show_output
from superpoint.diagnostics.report.record import PAIRS, RunRecord
from superpoint.diagnostics.report.sections import plots, samples_section
from superpoint.errors import UserError
from superpoint.evaluation.evaluate_synthetic import shape_samples
from superpoint.geometry.homography import inside
from superpoint.training.superpoint import by_kind, pair_table

SCENES = (("clean", 5), ("clean", 2), ("noisy", 7), ("noisy", 3))  # checkerboard, polygons, cube, ellipses (no labels)
SIZE = (240, 320)  # of a photograph, height and width
SAMPLES = 12
HELD_OUT = 2  # photographs of a labelled training set
SHOWN_PAIRS = 2  # training pairs with their matches


def output_section(record: RunRecord) -> Section:
    """Return the output of the network on some images."""
    figures, notes = read_picture(record.path / "strip.png", "From first to last step")
    outputs: list[Output] = []
    weights = ""
    try:
        checkpoint = load_checkpoint(record.path)
        weights = checkpoint.name
        outputs += [show_output(checkpoint.model, subject) for subject in draw_subjects(record, notes)]
    except UserError as error:  # no checkpoint yet, another architecture, output that is not finite
        notes.append(f"No heatmaps: {error}.")
    content = {"weights": weights, "outputs": outputs, "figures": figures, "notes": notes}
    return Section("output", "Heatmaps", content, "output.html")


def draw_subjects(record: RunRecord, notes: list[str]) -> list[Subject]:
    """Return validation scenes (or overfitted samples) and photographs; note what is missing."""
    config = MagicPointConfig()
    try:
        config = load_run_config(record.path / "config.yaml")
    except UserError as error:
        notes.append(f"{error}; scenes of the default size are shown.")
    subjects: list[Subject] = []
    for draw in (_scenes, _held_out, _photographs):
        try:
            subjects += draw(config)
        except UserError as error:  # the labelled photographs have moved; scikit-image is not installed
            notes.append(f"Not shown: {error}.")
    return subjects


def _scenes(config: MagicPointConfig) -> list[Subject]:
    data, channels = config.data, config.model.channels
    if data.overfit:
        dataset = training_samples(data, config.seed, channels)
        numbers = range(min(len(SCENES), data.overfit))
        return [Subject(f"overfitted sample {n}", *dataset.draw(n)[:2]) for n in numbers]
    scenes = []
    for variant, index in SCENES:
        *_, last = shape_samples(variant, data.height, data.width, index + 1, config.validation.seed, channels)
        name, image, points = last
        scenes.append(Subject(f"{name}, {variant} (validation scene {index})", image, points))
    return scenes


def _held_out(config: MagicPointConfig) -> list[Subject]:
    if config.data.kind == "synthetic" or config.data.overfit:
        return []
    photographs = enumerate(held_out_photographs(config.data, HELD_OUT, config.model.channels))
    return [Subject(f"held-out photograph {number}", *scene[:2]) for number, scene in photographs]


def _photographs(config: MagicPointConfig) -> list[Subject]:
    none, shown = np.zeros((0, 2), np.float32), shown_photographs(config.model.channels)
    return [Subject(name, cover(image, none, SIZE)[0]) for name, image in shown]


def training_section(record: RunRecord) -> Section:
    """Return training samples from where the curriculum ends."""
    text = "From where the curriculum ends, augmented. Crosses: labels as encoded. Darkened: cells the loss ignores."
    samples: list[Picture] = []
    try:
        config = load_run_config(record.path / "config.yaml")
        dataset = training_samples(config.data, config.seed, config.model.channels)
        first, count = (0, config.data.overfit) if config.data.overfit else (config.data.curriculum, SAMPLES)
        for index in range(first, first + min(SAMPLES, count)):
            image, points, _ = dataset.draw(index)
            title = f"sample {index}: {int(inside(points, *image.shape[:2]).sum())} labels"
            samples.append(Picture(title, draw_sample(dataset, index, max(1, 256 // config.data.width))))
    except UserError:  # other sections say why
        samples.clear()
    return samples_section(samples, text)


def descriptor_section(record: RunRecord) -> Section:
    """Return curves, matches of some training pairs, and the table of generated pairs."""
    matches = record.path / "evaluation" / "matches.png"
    figures, notes = read_picture(matches, "Generated pairs of held-out photographs", quality=70)
    notes += [record.missing[PAIRS]] if PAIRS in record.missing else []
    try:
        seen = observe_pairs(read_case(record.path))
        for index in range(min(SHOWN_PAIRS, len(seen.batch["image_a"]))):
            title = f"Training pair {index + 1}: keypoints joined with their nearest descriptor"
            figures.append(Picture(title, draw_correspondences(seen.batch, seen.forth, index), quality=70))
    except UserError as error:  # no checkpoint yet, the labelled photographs have moved
        notes.append(f"No descriptors of training pairs: {error}.")
    panels, tables = plots(descriptor_panels(record)), []
    try:
        config = load_run_config(record.path / "config.yaml")
        if record.pairs and isinstance(config, SuperPointConfig):
            tables = [rich_table(pair_table(config, by_kind(record.pairs)))]
    except UserError as error:
        notes.append(f"No table of generated pairs: {error}.")
    return Section("descriptors", "Descriptors", Content(panels=panels, figures=figures, tables=tables, notes=notes))
