"""Stage study: grids of small classifiers, compared in one table and one figure.

Every run has its own folder below <out>/runs. The same command continues a study that was killed.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from superpoint.classification.config import ClassAugmentConfig, ClassifierConfig
from superpoint.classification.training import build, in_steps, parameters, read_data, train_classifier
from superpoint.config import dump_config
from superpoint.engine.resume import config_differences
from superpoint.engine.run import RunFolder
from superpoint.errors import UserError
from superpoint.evaluation.tables import format_cell, make_table, publish
from superpoint.files import make_folder, read_text, write_json
from superpoint.visualize import save_figure

LATE = 3  # epochs at the end whose mean is the result: a single one of 200 images swings by a percent
NOTES = (
    "train loss, train accuracy: of the last epoch, on images as they were augmented",
    f"test accuracy: mean of the last {LATE} epochs",
    "time: of training alone, on the machine at hand",
)
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


@dataclass(frozen=True)
class Outcome:
    """One run of a study.

    Attributes:
        epochs: passes over the training images, at each validation; the curves have a value for each.
        seconds: of training.
        diverged: step at which the loss was not finite.
    """

    group: str
    label: str
    parameters: int
    epochs: list[float]
    test_accuracy: list[float]
    train_accuracy: list[float]
    train_loss: list[float]
    seconds: float
    diverged: int | None = None

    @property
    def result(self) -> str:
        """Return the mean test accuracy of the last epochs, or that the run diverged."""
        late = self.test_accuracy[-LATE:]
        return f"diverged, step {self.diverged}" if self.diverged is not None else format_cell(float(np.mean(late)))


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
        outcomes.append(read_outcome(cell, count, place, steps))
        console.print(f"{cell.group} {cell.label}: {outcomes[-1].result}, {outcomes[-1].seconds:.0f} s")
    save_figure(folder / "study.png", study_figure(outcomes, title))
    write_json(folder / "study.json", [asdict(outcome) for outcome in outcomes])
    publish(folder / "study.md", [study_table(outcomes, title)], NOTES)
    console.print(f"figure: {folder / 'study.png'}; tables: study.md, .json beside it; runs: {folder / 'runs'}")
    return outcomes


def read_outcome(cell: Cell, parameters: int, run: Path, steps_an_epoch: int) -> Outcome:
    history = RunFolder(run).history()
    lines = history.events("validate")
    curves: list[list[Any]] = [[e.get(key) for e in lines] for key in ("accuracy", "train_accuracy", "train_loss")]
    return Outcome(
        cell.group,
        cell.label,
        parameters,
        epochs=[line["step"] / steps_an_epoch for line in lines],
        test_accuracy=curves[0],
        train_accuracy=curves[1],
        train_loss=curves[2],
        seconds=max((float(line.get("elapsed") or 0) for line in history.entries), default=0.0),
        diverged=history.step if history.nonfinite else None,
    )


def study_table(outcomes: Sequence[Outcome], title: str) -> Table:
    right = ("parameters", "epochs", "train loss", "train accuracy", "test accuracy", "time")
    table = make_table(title, ["network", "run"], right)
    for one in outcomes:
        last = [
            format_cell(None if one.diverged is not None else each[-1]) for each in (one.train_loss, one.train_accuracy)
        ]
        count = f"{one.epochs[-1] if one.epochs else 0:.3g}"
        table.add_row(one.group, one.label, f"{one.parameters:,}", count, *last, one.result, f"{one.seconds:.0f} s")
    return table


def study_figure(outcomes: Sequence[Outcome], title: str) -> Figure:
    """Draw test accuracy above training loss over epochs: one column per group, one curve per run, dark to bright."""
    groups = list(dict.fromkeys(outcome.group for outcome in outcomes))
    width = max(3.9 * len(groups), 6.4)  # inches
    figure = Figure(figsize=(width, 7.0), dpi=100, layout="constrained")
    panels = figure.subplots(2, len(groups), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), group in zip(panels.T, groups, strict=True):
        chosen = [outcome for outcome in outcomes if outcome.group == group]
        # The bright end of the map is too faint on white.
        colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(chosen)))
        for outcome, color in zip(chosen, colors, strict=True):
            for axes, values in ((upper, outcome.test_accuracy), (lower, outcome.train_loss)):
                y = np.array(values, np.float64)
                axes.plot(outcome.epochs, y, ".-", color=color, label=f"{outcome.label}: {outcome.result}")
        upper.set(title=group if len(groups) > 1 else "", ylim=(0, 1.02))
        lower.set(xlabel="epoch", yscale="log")
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2 if len(groups) == 1 else 1}
        lower.legend(title="test accuracy at the end", fontsize="small", title_fontsize="small", **place)
        for axes in (upper, lower):
            axes.grid(alpha=0.3, which="both")
    panels[0][0].set_ylabel("test accuracy (share of images)")
    panels[1][0].set_ylabel("training loss (nats, log scale)")
    figure.suptitle(textwrap.fill(title, round(10.5 * width)))
    return figure


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
