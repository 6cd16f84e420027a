"""Stage adapt: photographs in, a detector trained on its own labels of them out, in one round or several.

    superpoint adapt --config configs/adaptation/default.yaml images=photos run=runs/adapted

Round n labels the photographs by homographic adaptation (labels<n>.h5) and trains on the labels (round<n>/, a run
folder as of train-magicpoint). Killed at any instant, the same command with --resume goes on where it was. At the end,
or so far, rounds.md and rounds.json say how labels and network have changed from round to round.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from superpoint.config import AdaptConfig, MagicPointConfig, dump_config
from superpoint.engine.run import RunFolder
from superpoint.errors import UserError
from superpoint.evaluation.label_summary import Summary
from superpoint.evaluation.synthetic import markdown_table
from superpoint.files import make_folder, write_atomically
from superpoint.models.weights import load_weights
from superpoint.stages.export_detections import export_detections
from superpoint.stages.magicpoint import WEIGHTS, train_magicpoint


def adapt(config: AdaptConfig, *, resume: bool = False) -> int | None:
    """Run all rounds; returns the signal that stopped them, None if they are complete.

    Raises: UserError if images is not set or holds none, if the folder holds anything and `resume` is not set, or if
    the network that is trained is not that of the weights it starts from.
    """
    if config.images is None:
        raise UserError("images: not set; say images=FOLDER")
    folder, console = Path(config.run), Console(stderr=True)
    if folder.exists() and any(folder.iterdir()) and not resume:
        raise UserError(f"run={folder}: the folder is not empty; go on with it by --resume, or take another run=...")
    make_folder(folder)
    _check_architecture(config)
    _keep_config(folder, config)
    weights, rows = config.export.weights, []
    for number in range(1, config.rounds + 1):
        labels = folder / f"labels{number}.h5"
        console.rule(f"round {number} of {config.rounds}: labels of {weights}")
        export = replace(config.export, weights=weights)
        exported = export_detections(export, [config.images], labels, root=config.images, resume=resume)
        if exported.signal is not None or exported.summary is None:
            return exported.signal
        console.rule(f"round {number} of {config.rounds}: training")
        training = config.of_round(number, weights, str(labels))
        trained = train_magicpoint(training, resume=resume)
        if trained.signal is not None:
            return trained.signal
        weights = str(Path(training.run) / WEIGHTS)
        rows.append(_row(number, exported.summary, training))
        _write(folder, rows)
    Console(width=max(Console().width, 130)).print(_table(rows))
    return None


def _check_architecture(config: AdaptConfig) -> None:
    """Training on from weights of another network fails only after the labels are made: so ask first."""
    _, found, _ = load_weights(config.export.weights)
    wanted = config.training.model
    for key in ("encoder", "head_channels", "descriptor_dim"):
        expected = getattr(wanted, key)
        if config.from_previous and found.get(key, expected) != expected:
            raise UserError(
                f"training.model.{key}: found {expected}, but {config.export.weights} has {found[key]}; set it alike, "
                "or from_previous=false"
            )


def _keep_config(folder: Path, config: AdaptConfig) -> None:
    """Write adapt.yaml, or find that it says the same."""
    path, text = folder / "adapt.yaml", dump_config(config)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UserError(f"{path}: was made with other settings; take another run=..., or the same settings")
    write_atomically(path, lambda file: file.write(text.encode()))


def _row(number: int, labels: Summary, training: MagicPointConfig) -> dict[str, Any]:
    """How the labels of a round look, and how the network trained on them does on photographs and on shapes."""
    validations = [entry for entry in RunFolder(training.run).metrics() if entry["event"] == "validate"]
    best = max(validations, key=lambda entry: entry["monitor"])
    precision = {name: best.get(f"{name}/ap@4") for name in ("photographs", "clean", "noisy")}
    return {"round": number, "labels": labels.as_dict(), "step": best["step"], "precision": precision}


def _write(folder: Path, rows: list[dict[str, Any]]) -> None:
    table = _table(rows)
    text = f"{table.title}\n\n{markdown_table(table)}"
    write_atomically(folder / "rounds.md", lambda file: file.write(text.encode()))
    write_atomically(folder / "rounds.json", lambda file: file.write(json.dumps(rows, indent=1).encode()))


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Rounds of labelling and training")
    for column in (
        "round",
        "images",
        "points, median",
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
        cells = [str(row["round"]), str(labels["images"]), f"{labels['median']:.0f}", f"{labels['coverage']:.2f}"]
        cells += [_cell(labels["placement"]["border"], ".2f"), _cell(labels["placement"]["fullest"], ".3f")]
        cells += [_cell(row["precision"][name], ".3f") for name in ("photographs", "clean", "noisy")]
        table.add_row(*cells)
    return table


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
