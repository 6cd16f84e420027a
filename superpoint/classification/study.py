"""Stage study: grids of small classifiers, compared in one table and one figure.

Every run has its own folder below <out>/runs. The same command continues a study that was killed.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

from rich.console import Console

from superpoint.classification.config import ClassAugmentConfig, ClassifierConfig
from superpoint.classification.study_figures import (
    Outcome,
    read_outcome,
    study_figure,
    study_markdown,
    study_table,
)
from superpoint.classification.training import build, in_steps, parameters, read_data, train_classifier
from superpoint.config import dump_config
from superpoint.engine.resume import config_differences
from superpoint.engine.run import RunFolder
from superpoint.errors import UserError
from superpoint.files import make_folder, read_text, write_json, write_text
from superpoint.visualize import save_figure

TITLES = {
    "mnist": "Fully connected against convolutions, learning rate and momentum: {images}",
    "depth": "Plain against residual networks: {images}",
    "ingredients": "What batch norm, initialisation, and augmentation do: {images}",
}
NETWORKS = {"fully_connected": "fully connected", "two_convolutions": "two convolutions"}


@dataclass(frozen=True)
class Cell:
    """One run of a study: folder name, panel, curve and configuration."""

    name: str
    group: str
    label: str
    config: ClassifierConfig


def mnist_cells(config: ClassifierConfig, rates: Sequence[float], momenta: Sequence[float]) -> list[Cell]:
    cells = []
    for (network, title), momentum, rate in product(NETWORKS.items(), momenta, rates):
        optimizer = replace(config.optimizer, name="sgd", lr=rate, momentum=momentum)
        chosen = replace(config, optimizer=optimizer, model=replace(config.model, name=network))
        name, group = f"{network}-m{momentum:g}-lr{rate:g}", f"{title}, momentum {momentum:g}"
        cells.append(Cell(name, group, f"rate {rate:g}", chosen))
    return cells


def depth_cells(config: ClassifierConfig, depths: Sequence[int]) -> list[Cell]:
    """Return plain and residual networks for small images (He et al. 2016, section 4.2), alike but for shortcuts."""
    cells = []
    for depth, (kind, title) in product(depths, (("plain", "plain"), ("resnet", "residual"))):
        name = f"cifar_{kind}{depth}"
        chosen = replace(config, model=replace(config.model, name=name))
        cells.append(Cell(name, f"{depth} layers", title, chosen))
    return cells


def ingredient_cells(config: ClassifierConfig) -> list[Cell]:
    """Return one network with one ingredient more each time, and with the other initialisation."""
    plain = ClassAugmentConfig(crop="centre", flip=0.0, test_resize=config.augment.test_resize)
    # A network without norm needs small steps: a rate that batch norm allows throws it off course.
    slow = replace(config.optimizer, lr=config.optimizer.lr / 4)

    def cell(name: str, label: str, *, norm: bool = True, init: str = "kaiming", augment: bool = False) -> Cell:
        options = {**config.model.options, "batch_norm": norm}
        chosen = replace(config, model=replace(config.model, name="small", init=init, options=options))
        chosen = chosen if norm else replace(chosen, optimizer=slow)
        return Cell(name, "small network", label, chosen if augment else replace(chosen, augment=plain))

    return [
        cell("plain", "kaiming", norm=False),
        cell("plain-trunc", "truncated normal", norm=False, init="trunc_normal"),
        cell("norm", "batch norm"),
        cell("norm-trunc", "batch norm, truncated normal", init="trunc_normal"),
        cell("augmented", "batch norm, augmentation", augment=True),
    ]


def run_study(name: str, cells: Sequence[Cell], out: str | Path) -> list[Outcome] | int:
    """Train all cells that are not done, write <out>/study.{md,json,png}; return their outcomes.

    A run whose loss is not finite is a result, not an error. Returns the number of a signal instead if one ended it.

    Raises: UserError, unusable data (before training); a cell in `out` with other settings.
    """
    folder = make_folder(out)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    outcomes: list[Outcome] = []
    data = read_data(cells[0].config)  # the cells differ in network, rate and augmentation alone
    title = TITLES[name].format(images=f"{len(data.train)} training and {len(data.test)} test images")
    for number, cell in enumerate(cells, 1):
        place = folder / "runs" / cell.name
        config = replace(cell.config, run=str(place), train=replace(cell.config.train, report=False))
        config_in_steps = in_steps(config, len(data.train))
        if not is_done(place, config_in_steps):
            console.print(f"run {number} of {len(cells)}: {cell.group} {cell.label}")
            resume = place.exists() and any(place.iterdir())
            try:
                result = train_classifier(config, resume=resume, data=data, quiet=True)
                if result.signal is not None:
                    return result.signal
            except UserError:
                if not RunFolder(place).history().nonfinite:
                    raise
        count, steps = parameters(build(config.model, data.spec)), config_in_steps.train.validate_every
        outcome = read_outcome(cell.group, cell.label, count, RunFolder(place).history().entries, steps)
        accuracy = "diverged" if outcome.diverged is not None else f"test accuracy {outcome.test_accuracy or 0:.3f}"
        console.print(f"{cell.group} {cell.label}: {accuracy}, {outcome.seconds:.0f} s")
        outcomes.append(outcome)
        write_study(outcomes, title, folder)
    Console().print(study_table(outcomes, title))
    console.print(f"figure: {folder / 'study.png'}; tables: study.md, .json beside it; runs: {folder / 'runs'}")
    return outcomes


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
        if key != "run":
            raise UserError(
                f"{place}: {key}: found {new!r}, but this run of the study was begun with {old!r}; take another --out"
            )
    return run.weights.exists() or run.history().nonfinite
