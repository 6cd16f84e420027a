"""Results of image pairs as tables and curves (terminal, Markdown, PNG) and as data (JSON)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.evaluation.pair_metrics import CORNER_EPS, THRESHOLDS, PairRecord, groups, summarise
from superpoint.evaluation.tables import format_cell, make_table, publish
from superpoint.files import write_text
from superpoint.matching import ESTIMATORS
from superpoint.visualize import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    plot_color,
    save_figure,
)

CURVE = np.linspace(0, 10, 201)  # px
ORDER = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)  # of curves
DASHES = ("-", "--", "-.", ":")
NAMES = {"ransac": "RANSAC", "magsac": "MAGSAC", "gcransac": "GC-RANSAC"}


def summaries(records: Sequence[PairRecord], seed: int = 0) -> list[dict[str, Any]]:
    """Return {"extractor", "kind", "group", "pairs", "figures"} per extractor and group of pairs."""
    found = []
    for extractor in dict.fromkeys(record.extractor for record in records):
        for kind, name, members in groups(record for record in records if record.extractor == extractor):
            # An interval from the five pairs of a sequence would say nothing.
            content = summarise(members, intervals=kind != "sequence", seed=seed)
            found.append(
                {"extractor": extractor, "kind": kind, "group": name, "pairs": len(members), "figures": content}
            )
    return found


def write_report(
    folder: Path, records: Sequence[PairRecord], config: EvaluatePairsConfig, source: str, skipped: Sequence[str]
) -> None:
    """Print the tables and write pairs.md, the JSON and PNG files beside it."""
    found = summaries(records, config.seed)
    protocol = {"name": config.describe(), "parameters": asdict(config)}
    count = len({record.pair for record in records})
    title = f"{count} pairs, protocol {config.describe()}"
    tables = [homography_table(found, f"Homography: share of pairs by corner error, px; {title}")]
    tables.append(feature_table(found, f"Keypoints and matches; {title}"))
    for kind in ("change", "sequence"):
        if any(each["kind"] == kind for each in found):
            tables.append(group_table(found, kind, f"By {kind}: RANSAC correctness @1 / @3 / @5 px and MMA @3 px"))
    extractors = {each["extractor"] for each in found}
    shown = 3 if len(extractors) <= 4 else 2  # more columns do not fit: pairs.md has them
    publish(folder / "pairs.md", tables, [f"data: {source}; {count} pairs, {len(skipped)} left out"], shown=shown)
    content = {"data": source, "protocol": protocol, "skipped": list(skipped), "summary": found}
    content["pairs"] = [record.row() | {"corner_errors": _finite(record.errors)} for record in records]
    write_text(folder / "pairs.json", json.dumps(content, indent=1, allow_nan=False))
    save_figure(folder / "curves.png", curves_figure(records, title))


def homography_table(found: Sequence[Mapping[str, Any]], title: str) -> Table:
    """Return one row per extractor and estimator: correctness, its 95 % interval at 3 px, its area."""
    table = make_table(title, ["extractor", "estimator"], ["@1", "@3", "@3 95 %", "@5", "AUC@5"])
    for each in _all(found):
        table.add_section()
        for name, shown in NAMES.items():
            first, second, third, area = (_shown(each, f"{name}_{key}") for key in (*CORNER_EPS, "auc_5"))
            interval = "-".join(format_cell(each["figures"][f"{name}_3"][end], ".2f") for end in ("low", "high"))
            table.add_row(each["extractor"], shown, first, second, interval, third, area)
    return table


def feature_table(found: Sequence[Mapping[str, Any]], title: str) -> Table:
    """Return one row per extractor: repeatability and localisation, matching, counts."""
    columns = {
        "rep. @3 px": "repeatability_3",
        "@1 px": "repeatability_1",
        "error px": "localisation",
        "NN-mAP": "nn_map",
        "M. score": "matching_score",
        **{f"MMA @{eps}": f"mma_{eps}" for eps in (1, 3, 5)},
        "RANSAC inliers": "ransac_inliers",
    }
    counts = {"matches": "matches", "keypoints": "points"}
    table = make_table(title, ["extractor"], [*columns, *counts])
    for each in _all(found):
        figures = [_shown(each, key) for key in columns.values()]
        table.add_row(each["extractor"], *figures, *(_shown(each, key, ".0f") for key in counts.values()))
    return table


def _shown(entry: Mapping[str, Any], figure: str, form: str = ".3f") -> str:
    return format_cell(entry["figures"][figure]["value"], form)


def group_table(found: Sequence[Mapping[str, Any]], kind: str, title: str) -> Table:
    """Return one row per group of pairs, one column per extractor."""
    extractors = list(dict.fromkeys(each["extractor"] for each in found))
    members = {(each["group"], each["extractor"]): each for each in found if each["kind"] == kind}
    table = make_table(title, [kind], ["pairs", *extractors])
    for group in dict.fromkeys(group for group, _ in members):
        rows = [members[group, extractor] for extractor in extractors]
        shares = [" / ".join(_shown(row, f"ransac_{eps}", ".2f") for eps in CORNER_EPS) for row in rows]
        cells = [f"{share}; {_shown(row, 'mma_3', '.2f')}" for share, row in zip(shares, rows, strict=True)]
        table.add_row(group, str(rows[0]["pairs"]), *cells)
    return table


def curves_figure(records: Sequence[PairRecord], title: str) -> Figure:
    """Draw mean matching accuracy and, per estimator, the share of pairs by corner error, over the threshold."""
    figure = Figure(figsize=(17, 4.6), dpi=100, layout="constrained")
    accuracy, *panels = figure.subplots(1, 1 + len(ESTIMATORS), sharey=True)
    for index, extractor in enumerate(dict.fromkeys(record.extractor for record in records)):
        mine = [record for record in records if record.extractor == extractor]
        style: dict[str, Any] = {
            "color": plot_color(ORDER[index % 6]),
            "linestyle": DASHES[index % 4],
            "linewidth": 1.8,
        }
        accuracy.plot(THRESHOLDS, np.mean([record.mma for record in mine], axis=0), label=extractor, **style)
        for axes, name in zip(panels, ESTIMATORS, strict=True):
            errors = np.array([error for record in mine for error in record.errors[name]])
            axes.step(CURVE, (errors[:, None] <= CURVE).mean(axis=0), where="post", **style)
    accuracy.set(xlabel="distance from the true place, px, at most", title="mean matching accuracy", ylabel="share")
    for axes, name in zip(panels, ESTIMATORS, strict=True):
        axes.set(xlabel="mean corner error, px, at most", title=f"correct homographies, {NAMES[name]}")
    for axes in (accuracy, *panels):
        axes.set(xlim=(0, 10), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    figure.suptitle(title, fontsize=11)
    return figure


def _finite(errors: Mapping[str, Sequence[float]]) -> dict[str, list[float | None]]:
    return {name: [each if np.isfinite(each) else None for each in values] for name, values in errors.items()}


def _all(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [each for each in found if each["kind"] == "all"]
