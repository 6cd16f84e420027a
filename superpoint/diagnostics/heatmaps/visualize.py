"""Stage visualize-heatmaps: draw a detector's output, cell by cell: a figure per image and checkpoint."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from superpoint.config import MagicPointConfig, ModelConfig, load_run_config
from superpoint.data.bands import in_channels, read_image
from superpoint.data.images import resize_with_points, sample_photographs
from superpoint.data.label_files import read_points
from superpoint.data.training_set import training_samples
from superpoint.diagnostics.heatmaps.detector_output import Subject, observe
from superpoint.diagnostics.heatmaps.figures import heatmap_panels
from superpoint.engine.display import watch
from superpoint.errors import UserError
from superpoint.files import make_folder
from superpoint.models import SuperPoint
from superpoint.models.weights import load_weights, model_from_state
from superpoint.pretrained import result_run, run_of
from superpoint.visualize import save_figure

SCENES = 3  # shown by default, the first at full augmentation
PHOTOGRAPHS = ("camera", "motorcycle_left")  # shown by default


@dataclass(frozen=True)
class Checkpoint:
    """A network to look at: `name` for titles, `slug` for file names."""

    name: str
    slug: str
    model: SuperPoint


def visualize_heatmaps(
    sources: Sequence[str | Path],
    *,
    images: Sequence[str | Path] = (),
    indices: Sequence[int] = (),
    labels: str | Path | None = None,
    out: str | Path | None = None,
    longest: int = 320,
) -> list[Path]:
    """Draw the figures and return their files.

    Args:
        sources: run folders, checkpoints, weights files or names of pretrained weights.
        images: photographs.
        indices: samples of the training data of the first run among the sources. Without these and images: three
            samples and two photographs of scikit-image.
        labels: points of the one photograph, see `read_points`.
        out: folder; by default heatmaps/ in the first source, which must then be a run folder.
        longest: photographs are shrunk to this longer side, in pixels.

    Raises:
        UserError: a source, image or label file that cannot be used.
    """
    if not sources:
        raise UserError("visualize-heatmaps: found no run or weights, expected at least one")
    if labels is not None and len(images) != 1:
        raise UserError(f"--labels {labels}: found {len(images)} times --image, expected the one image it belongs to")
    checkpoints = [load_checkpoint(source, number) for number, source in enumerate(sources, 1)]
    if out is None:
        run = run_of(sources[0])
        if run is None:
            raise UserError(f"{sources[0]}: not a run folder; say with --out where the pictures should go")
        out = run / "heatmaps"
    channels = checkpoints[0].model.channels
    subjects = [labelled_photograph(path, labels, longest, channels) for path in images]
    console = Console()
    if indices:
        config = next(filter(None, map(config_of, sources)), None)
        if config is None:
            raise UserError(
                f"{sources[0]}: found weights without the configuration of a run, which --index needs; name a run"
            )
        subjects += samples(config, indices)
    elif not images:
        subjects = default_subjects(sources, longest, console, channels)
    folder = make_folder(out)
    written = [path for subject in watch(unique(subjects), "heatmaps") for path in draw(checkpoints, subject, folder)]
    for path in written:
        console.print(str(path), soft_wrap=True, highlight=False)
    return written


def draw(checkpoints: Sequence[Checkpoint], subject: Subject, folder: Path) -> list[Path]:
    """Draw the figures of one image."""
    written = []
    for checkpoint in checkpoints:
        try:
            output = observe(checkpoint.model, subject)
        except UserError as error:
            raise UserError(f"{checkpoint.name}: {error}") from error
        figure = heatmap_panels(output, f"{checkpoint.name} on {subject.name}")
        suffix = f"_{checkpoint.slug}" if len(checkpoints) > 1 else ""
        written.append(save_figure(folder / f"{subject.slug}{suffix}.png", figure))
    return written


def load_checkpoint(source: str | Path, number: int = 1) -> Checkpoint:
    """Load the network of `source` with a name that tells its step. Raises: see `models.load_network`."""
    state, model_config, metadata = load_weights(source)
    model = model_from_state(state, model_config, source).eval()
    file = f" ({metadata['checkpoint']})" if Path(source).is_dir() and "checkpoint" in metadata else ""
    step = f", step {metadata['step']}" if "step" in metadata else ""
    parts = [part for part in Path(source).with_suffix("").parts if part not in ("checkpoints", "/", "..", ".")]
    return Checkpoint(f"{source}{file}{step}", slug(f"{number}-{'-'.join(parts[-2:])}"), model)


def labelled_photograph(path: str | Path, labels: str | Path | None, longest: int, channels: int = 1) -> Subject:
    """Read a photograph with the points of its label file, both shrunk together."""
    image = read_image(path, channels)
    points = None if labels is None else read_points(labels, (image.shape[0], image.shape[1]))
    return photograph(Path(path).name, image, points, longest)


def photograph(name: str, image: NDArray[np.uint8], points: NDArray[np.floating] | None, longest: int) -> Subject:
    (height, width), title = image.shape[:2], name
    factor = longest / max(height, width)
    if factor < 1:
        size = max(1, round(height * factor)), max(1, round(width * factor))
        image, moved = resize_with_points(image, np.zeros((0, 2)) if points is None else points, size)
        points = None if points is None else moved
        title = f"{name} (shrunk from {width} x {height})"
    return Subject(title, image, points, slug=slug(Path(name).stem))


def samples(config: MagicPointConfig, indices: Sequence[int]) -> list[Subject]:
    """Draw training samples of a run, augmented as it sees them."""
    dataset = training_samples(config.data, config.seed, config.model.channels)
    subjects = []
    for index in indices:
        (image, points, _), encoded = dataset.draw(index), dataset[index]
        truth = points, encoded["target"], encoded["valid"]
        subjects.append(Subject(f"training sample {index}", image, *truth, slug=f"sample_{index}"))
    return subjects


def config_of(source: str | Path) -> MagicPointConfig | None:
    """Return the configuration of the run folder that `source` is, or that it lies in."""
    path = result_run(source)
    for folder in (path, path.parent, path.parent.parent):
        if path.exists() and all((folder / name).is_file() for name in ("config.yaml", "environment.json")):
            return load_run_config(folder / "config.yaml")
    return None


def default_subjects(sources: Sequence[str | Path], longest: int, console: Console, channels: int) -> list[Subject]:
    """Return three samples of the run's training data, or of the default's, and two photographs if there are any."""
    config = next(filter(None, map(config_of, sources)), None)
    if config is None:
        config = MagicPointConfig(model=ModelConfig(channels=channels))
        console.print("no run folder among the sources: scenes of the default configuration")
    first = 0 if config.data.overfit else config.data.curriculum
    subjects = samples(config, range(first, first + min(SCENES, config.data.overfit or SCENES)))
    try:
        subjects += [photograph(name, image, None, longest) for name, image in shown_photographs(channels)]
    except UserError as error:
        console.print(f"without photographs: {error}")
    return subjects


def shown_photographs(channels: int) -> list[tuple[str, NDArray[np.uint8]]]:
    """Return the photographs that are shown by default, by name. Raises: as `sample_photographs` and `in_channels`."""
    return [(name, in_channels(rgb, channels)) for name, rgb in sample_photographs() if name in PHOTOGRAPHS]


def unique(subjects: Sequence[Subject]) -> list[Subject]:
    """Return the same with different slugs: two photographs may have the same name in different folders."""
    seen: Counter[str] = Counter()
    result = []
    for subject in subjects:
        seen[subject.slug] += 1
        count = f"-{seen[subject.slug]}" if seen[subject.slug] > 1 else ""
        result.append(replace(subject, slug=f"{subject.slug}{count}"))
    return result


def slug(text: str) -> str:
    """Return `text` as part of a file name."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "image"
