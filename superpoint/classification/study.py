"""Stage study: grids of small classifiers, compared in one table and one figure.

Every run has its own folder below <out>/runs. The same command continues a study that was killed.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console

from superpoint.classification.config import ClassifierConfig
from superpoint.classification.data.images import ClassImages, look_alikes
from superpoint.classification.study_figures import (
    Outcome,
    read_outcome,
    study_figure,
    study_markdown,
    study_table,
)
from superpoint.classification.training import ClassifierData, build, in_steps, parameters, read_data, train_classifier
from superpoint.config import dump_config
from superpoint.engine.resume import config_differences
from superpoint.engine.run import RunFolder
from superpoint.errors import UserError
from superpoint.files import make_folder, read_text, write_json, write_text
from superpoint.visualize import save_figure

TITLES = {
    "mnist": "Fully connected against convolutions, learning rate and momentum: {images}",
    "depth": "Plain against residual networks: {images}",
    "ingredients": "What batch norm, initialisation, augmentation and pretraining do: {images}",
}
NETWORKS = {"fully_connected": "fully connected", "two_convolutions": "two convolutions"}


@dataclass(frozen=True)
class Cell:
    """One run of a study: folder name, panel, curve, configuration, and the cell whose weights it starts from."""

    name: str
    group: str
    label: str
    config: ClassifierConfig
    start: str | None = None
    shown: bool = True


def mnist_cells(config: ClassifierConfig, rates: Sequence[float], momenta: Sequence[float]) -> list[Cell]:
    cells = []
    for network, title in NETWORKS.items():
        for momentum in momenta:
            for rate in rates:
                optimizer = replace(config.optimizer, name="sgd", lr=rate, momentum=momentum)
                chosen = replace(config, optimizer=optimizer, model=replace(config.model, name=network))
                group = f"{title}, momentum {momentum:g}"
                cells.append(Cell(f"{network}-m{momentum:g}-lr{rate:g}", group, f"rate {rate:g}", chosen))
    return cells


def depth_cells(config: ClassifierConfig, depths: Sequence[int]) -> list[Cell]:
    """Return plain and residual networks for small images (He et al. 2016, section 4.2), alike but for shortcuts."""
    cells = []
    for depth in depths:
        for kind, title in (("plain", "plain"), ("resnet", "residual")):
            name = f"cifar_{kind}{depth}"
            chosen = replace(config, model=replace(config.model, name=name))
            cells.append(Cell(name, f"{depth} layers", title, chosen))
    return cells


def ingredient_cells(config: ClassifierConfig, pretrain: str | None) -> list[Cell]:
    """Return one network with one ingredient more each time, and with the other initialisation."""

    def with_(*, norm: bool, init: str = "kaiming", augment: bool = False) -> ClassifierConfig:
        options = {**config.model.options, "batch_norm": norm}
        chosen = replace(config, model=replace(config.model, name="small", init=init, options=options))
        plain = replace(config.augment, crop="centre", flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0, pca=0.0)
        return chosen if augment else replace(chosen, augment=replace(plain, hue=0.0))

    # A network without norm needs small steps: a rate that batch norm allows throws it off course.
    slow = replace(config.optimizer, lr=config.optimizer.lr / 4)
    cells = [
        Cell("plain", "", "kaiming", replace(with_(norm=False), optimizer=slow)),
        Cell("plain-trunc", "", "truncated normal", replace(with_(norm=False, init="trunc_normal"), optimizer=slow)),
        Cell("norm", "", "batch norm", with_(norm=True)),
        Cell("norm-trunc", "", "batch norm, truncated normal", with_(norm=True, init="trunc_normal")),
        Cell("augmented", "", "batch norm, augmentation", with_(norm=True, augment=True)),
    ]
    if pretrain is not None:
        before = with_(norm=True, augment=True)
        source = replace(before, data=replace(before.data, train=pretrain, test=None, train_labels=None, limit=0))
        cells.append(Cell("pretraining", "", "pretraining", source, shown=False))
        cells.append(Cell("pretrained", "", "batch norm, augmentation, pretraining", before, start="pretraining"))
    return [replace(cell, group="small network") for cell in cells]


def run_study(name: str, cells: Sequence[Cell], out: str | Path) -> list[Outcome] | int:
    """Train all cells that are not done, write <out>/study.{md,json,png}; return the outcomes shown.

    A run whose loss is not finite is a result, not an error. Returns the number of a signal instead if one ended it.

    Raises: UserError, unusable data (before training); a cell in `out` with other settings.
    """
    folder = make_folder(out)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    data: dict[str, ClassifierData] = {}
    outcomes: list[Outcome] = []
    title = ""
    for cell in cells:  # all of it before the first run: a mistake in the data of the last shows now
        _data(cell.config, data)
    for number, cell in enumerate(cells, 1):
        place = folder / "runs" / cell.name
        start = cell.config.weights if cell.start is None else str(folder / "runs" / cell.start)
        config = replace(cell.config, run=str(place), weights=start, train=replace(cell.config.train, report=False))
        found = _data(config, data)
        for other in cells:
            if cell.start is None and other.start == cell.name:  # the test images must stay unseen
                found = without(found, _data(other.config, data).test, console)
        config_in_steps = in_steps(config, len(found.train))
        if not is_done(place, config_in_steps):
            console.print(f"run {number} of {len(cells)}: {cell.group} {cell.label}")
            resume = place.exists() and any(place.iterdir())
            try:
                result = train_classifier(config, resume=resume, data=found, quiet=True)
                if result.signal is not None:
                    return result.signal
            except UserError:
                if not RunFolder(place).history().nonfinite:
                    raise
        count, steps = parameters(build(config.model, found.spec)), config_in_steps.train.validate_every
        outcome = read_outcome(cell.group, cell.label, count, RunFolder(place).history().entries, steps)
        accuracy = "diverged" if outcome.diverged is not None else f"test accuracy {outcome.test_accuracy or 0:.3f}"
        console.print(f"{cell.group} {cell.label}: {accuracy}, {outcome.seconds:.0f} s")
        if cell.shown:
            title = TITLES[name].format(images=f"{len(found.train)} training and {len(found.test)} test images")
            outcomes.append(outcome)
            write_study(outcomes, title, folder)
    Console().print(study_table(outcomes, title))
    console.print(f"figure: {folder / 'study.png'}; tables: study.md, .json beside it; runs: {folder / 'runs'}")
    return outcomes


def _data(config: ClassifierConfig, known: dict[str, ClassifierData]) -> ClassifierData:
    key = yaml.safe_dump([dump_config(config.data), config.augment.test_resize, config.augment.test_crops, config.seed])
    if key not in known:
        known[key] = read_data(config)
    return known[key]


def without(data: ClassifierData, unseen: ClassImages, console: Console) -> ClassifierData:
    copies = look_alikes(data.train, unseen)
    if not len(copies):
        return data
    console.print(f"pretraining: {len(copies)} images left out that are among the test images")
    return replace(data, train=data.train.subset(np.setdiff1d(np.arange(len(data.train)), copies)))


def write_study(outcomes: Sequence[Outcome], title: str, folder: Path) -> None:
    save_figure(folder / "study.png", study_figure(outcomes, title))
    write_text(folder / "study.md", study_markdown(outcomes, title))
    write_json(folder / "study.json", [asdict(outcome) for outcome in outcomes])


def is_done(place: Path, config: ClassifierConfig) -> bool:
    """Return whether a cell's run has ended. Raises: UserError if it was begun with another configuration."""
    run = RunFolder(place)
    if not run.config_file.is_file():
        return False
    for key, old, new in config_differences(read_text(run.config_file), dump_config(config)):
        if key not in ("run", "weights"):
            raise UserError(
                f"{place}: {key}: found {new!r}, but this run of the study was begun with {old!r}; take another --out"
            )
    return run.weights.exists() or run.history().nonfinite
