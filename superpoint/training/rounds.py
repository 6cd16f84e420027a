"""Stage adapt: photographs in, a detector trained on its own labels of them out, in one round or several.

    superpoint adapt --config adapt/default images=photos run=runs/adapt

Round n labels the photographs by homographic adaptation (labels<n>.h5) and trains on the labels (round<n>/, a run
folder as of train-magicpoint). Killed at any instant, the same command with --resume goes on where it was. At the end,
or so far, rounds.md and rounds.json say how labels and network have changed from round to round.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superpoint.config import AdaptConfig, MagicPointConfig, dump_config, load_config
from superpoint.config.labelling import MAY_CHANGE
from superpoint.data.feature_file import FeatureFile
from superpoint.data.sources.source import open_source
from superpoint.engine.run import WEIGHTS, RunFolder
from superpoint.errors import UserError
from superpoint.evaluation.synthetic import markdown_table
from superpoint.files import make_folder, write_atomically
from superpoint.labelling import agreement
from superpoint.labelling.export import export_detections
from superpoint.labelling.summary import Summary
from superpoint.models.weights import load_weights
from superpoint.training.fit import Conclude
from superpoint.training.magicpoint import train_magicpoint

SETTINGS = "adapt.yaml"
COMPARED = 1000  # images, evenly chosen, whose labels are compared with those of the round before
MIN_SHARE = 0.5  # of the round before, median of the images; with fewer the labels are collapsing


def adapt(config: AdaptConfig, *, resume: bool = False, conclude: Conclude | None = None) -> int | None:
    """Run all rounds; returns the signal that stopped them, None if they are complete.

    Raises: UserError if images is not set or holds none, if the folder holds rounds and `resume` is not set, or if the
    network that is trained is not that of the weights it starts from; under torchrun.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "adapt: found several processes (torchrun), expected one; for several call export-detections and "
            "train-magicpoint in turn"
        )
    if config.images is None:
        raise UserError("images: not set; say images=FOLDER")
    if not Path(config.images).is_dir():
        raise UserError(f"images: found '{config.images}', expected a folder of photographs")
    open_source([config.images])  # before anything is written: are there any?
    folder, console = Path(config.run), Console(stderr=True)
    # What a command that failed before its first round has left behind does not bar the way of its correction.
    begun = folder.exists() and any(each.name != SETTINGS for each in folder.iterdir())
    if begun and not resume:
        raise UserError(f"run={folder}: the folder is not empty; go on with it by --resume, or take another run=...")
    _check_architecture(config)
    make_folder(folder)
    _keep_config(folder, config, begun)
    weights, rows = config.labelling.weights, []
    for number in range(1, config.rounds + 1):
        labels = folder / f"labels{number}.h5"
        console.rule(f"round {number} of {config.rounds}: labels of {weights}")
        export = replace(config.labelling, weights=weights)
        exported = export_detections(export, [config.images], labels, root=config.images, resume=resume)
        if exported.signal is not None or exported.summary is None:
            return exported.signal
        stay, alarm = None, None
        if number > 1:
            stay = label_agreement(folder / f"labels{number - 1}.h5", labels)
            alarm = collapse(rows[-1]["labels"]["median"], exported.summary.median)
            console.print(f"{_cell(stay, '.0%')} of the points are where the round before had one, within 1 px")
        if alarm is not None:
            console.print(Text(f"ALARM: {alarm}", style="bold red"), soft_wrap=True)
        console.rule(f"round {number} of {config.rounds}: training")
        training = config.of_round(number, weights, str(labels))
        trained = train_magicpoint(training, resume=resume)
        if trained.signal is not None:
            return trained.signal
        if conclude is not None:
            conclude(training, trained)
        weights = str(Path(training.run) / WEIGHTS)
        rows.append(_row(number, exported.summary, training) | {"agreement": stay, "alarm": alarm})
        _write(folder, rows)
    Console(width=max(Console().width, 130)).print(_table(rows))
    return None


def _check_architecture(config: AdaptConfig) -> None:
    """Training on from weights of another network fails only after the labels are made: so ask first."""
    weights = config.labelling.weights
    _, found, _ = load_weights(weights)
    wanted = config.training.model
    if config.from_previous and found.get("descriptor_dim"):
        raise UserError(
            f"labelling.weights: {weights} has descriptors of {found['descriptor_dim']} dimensions, which this stage "
            "does not train; start from weights of train-magicpoint, or set from_previous=false"
        )
    # A start without the fine branch gets one, see `load_start`; one that has it cannot lose it, nor change its width.
    for key in ("encoder", "head_channels", *(("fine",) if found.get("fine") else ())):
        expected = getattr(wanted, key)
        if config.from_previous and found.get(key, expected) != expected:
            raise UserError(
                f"training.model.{key}: found {expected}, but {weights} has {found[key]}; set it alike, or "
                "from_previous=false"
            )


def _keep_config(folder: Path, config: AdaptConfig, begun: bool) -> None:
    """Write adapt.yaml or, once rounds have begun, find that it says the same; more rounds may be asked for."""
    path = folder / SETTINGS
    if begun and path.exists():
        made = load_config(AdaptConfig, path)
        before, now = _flat(asdict(made)), _flat(asdict(config))
        free = {"rounds", *(f"labelling.{key}" for key in MAY_CHANGE)}
        other = [key for key, value in now.items() if key not in free and before.get(key) != value]
        if other:
            found = ", ".join(f"{key}={before.get(key)}" for key in other[:3])
            raise UserError(f"{path}: was made with other settings ({found}); take another run=..., or the same")
        if config.rounds < made.rounds:
            raise UserError(f"rounds: found {config.rounds}, but {path} has {made.rounds}; expected as many, or more")
    write_atomically(path, lambda file: file.write(dump_config(config).encode()))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"labelling.decode.threshold": 0.015, ...}."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def label_agreement(before: str | Path, after: str | Path) -> float | None:
    """Compute the share of points in either feature file with one of the other within 1 px, as the network saw them.

    Mean over up to COMPARED images that both files hold, evenly chosen; None if there is none.
    """
    with FeatureFile(before) as old, FeatureFile(after) as new:
        names = [name for name in new.names() if name in old]
        shares = []
        for place in np.unique(np.linspace(0, len(names) - 1, min(COMPARED, len(names))).round().astype(int)):
            one, other = old.read(names[place]), new.read(names[place])
            shares.append(agreement(one.keypoints, other.keypoints, other.uncertainty or 1.0))
    return float(np.mean(shares)) if shares else None


def collapse(before: float, after: float) -> str | None:
    """Return a warning if the median image has so many fewer points that training on them would spiral down."""
    if after >= MIN_SHARE * before:
        return None
    return (
        f"the median image has {after:g} points, {before:g} in the round before: the labels collapse; lower "
        "labelling.decode.threshold, train each round longer, or stop at the round before"
    )


def _row(number: int, labels: Summary, training: MagicPointConfig) -> dict[str, Any]:
    """How the labels of a round look, and how the network trained on them does on photographs and on shapes."""
    best = RunFolder(training.run).history().best
    precision = {name: best.get(f"{name}/ap@4") for name in ("photographs", "clean", "noisy")}
    return {"round": number, "labels": labels.as_dict(), "step": best["step"], "precision": precision}


def _write(folder: Path, rows: list[dict[str, Any]]) -> None:
    table = _table(rows)
    alarms = [f"\nALARM, round {row['round']}: {row['alarm']}\n" for row in rows if row["alarm"] is not None]
    text = f"{table.title}\n\n{markdown_table(table)}" + "".join(alarms)
    write_atomically(folder / "rounds.md", lambda file: file.write(text.encode()))
    write_atomically(folder / "rounds.json", lambda file: file.write(json.dumps(rows, indent=1).encode()))


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Rounds of labelling and training")
    for column in (
        "round",
        "images",
        "points, median",
        "as before, within 1 px",
        "coverage",
        "border density",
        "fullest row of the cell",
        "AP on its labels",
        "AP shapes, clean",
        "AP shapes, noisy",
    ):
        table.add_column(column, justify="right")
    for row in rows:
        labels = row["labels"]
        cells = [str(row["round"]), str(labels["images"]), f"{labels['median']:.0f}"]
        cells += [_cell(row["agreement"], ".0%"), _cell(labels["coverage"], ".2f")]
        cells += [_cell(labels["placement"]["border"], ".2f"), _cell(labels["placement"]["fullest"], ".3f")]
        cells += [_cell(row["precision"][name], ".3f") for name in ("photographs", "clean", "noisy")]
        table.add_row(*cells)
    return table


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
