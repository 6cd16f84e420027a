"""Results of image pairs as tables and curves (terminal, Markdown, PNG) and as data (JSON)."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.table import Table

from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.pairs import ViewPair
from superpoint.engine.display import watch
from superpoint.evaluation.pair_metrics import CORNER_EPS, THRESHOLDS, Outcome, PairRecord, groups, summarise
from superpoint.evaluation.pairs import match_errors
from superpoint.evaluation.tables import format_cell, make_table, publish
from superpoint.features import Features
from superpoint.files import make_folder, write_text
from superpoint.geometry.homography import frame_corners, warp_points
from superpoint.matching import ESTIMATORS
from superpoint.visualize import (
    BLUE,
    GREEN,
    MAX_LINES,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    contact_sheet,
    draw_matches,
    plot_color,
    save_figure,
    save_image,
    side_by_side,
)

CURVE = np.linspace(0, 10, 201)  # px
ORDER = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)  # of curves
FAR = 1e5  # px; OpenCV draws no line to points much further away
DASHES = ("-", "--", "-.", ":")
Redraw = Callable[[str, str], tuple[ViewPair, Features, Features, Outcome]]  # (extractor, pair's name)
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


def write_gallery(folder: Path, records: Sequence[PairRecord], redraw: Redraw, count: int) -> list[Path]:
    """Draw the `count` best and worst pairs per extractor, by RANSAC's corner error: <extractor>-best-1.png, ..."""
    make_folder(folder)
    for old in folder.glob("*.png"):
        old.unlink()  # of an earlier run with other extractors
    drawn: list[tuple[Path, PairRecord]] = []
    for extractor in dict.fromkeys(record.extractor for record in records):
        mine = [record for record in records if record.extractor == extractor]
        order = sorted(mine, key=lambda record: (record.errors["ransac"][0], -record.mma[2]))
        best = order[: min(count, (len(order) + 1) // 2)]
        worst = order[::-1][: min(count, len(order) // 2)]
        name = "".join(letter if letter.isalnum() or letter in "+-." else "_" for letter in extractor)
        for kind, chosen in (("best", best), ("worst", worst)):
            drawn += [(folder / f"{name}-{kind}-{place}.png", record) for place, record in enumerate(chosen, 1)]
    return [
        save_image(path, pair_picture(*redraw(record.extractor, record.pair), record))
        for path, record in watch(drawn, "gallery")
    ]


def pair_picture(pair: ViewPair, a: Features, b: Features, outcome: Outcome, record: PairRecord) -> NDArray[np.uint8]:
    """Draw both views side by side with the matches, and the outline of the first view in the second, uint8 RGB.

    Matches that agree with the true homography (3 px): green lines; others: vermilion dots. Outlines: the true one
    green and wide, the one of RANSAC's estimate vermilion.
    """
    canvas, shift = side_by_side(pair.image_a, pair.image_b)
    estimate, pairs = outcome.estimates["ransac"][0].matrix, outcome.matches.indices
    chosen = pairs[np.linspace(0, len(pairs) - 1, min(MAX_LINES, len(pairs))).astype(int)]
    start, end = a.keypoints[chosen[:, 0]], b.keypoints[chosen[:, 1]]
    draw_matches(canvas, start, end + shift, match_errors(start, end, pair.h_a_b) <= 3)
    # The true outline is the wider, so that it shows beside an estimate that covers it.
    outlines = [(pair.h_a_b, GREEN, 5)] + ([] if estimate is None else [(estimate, VERMILION, 2)])
    for matrix, color, width in outlines:
        corners = warp_points(frame_corners(*pair.image_a.shape[:2]), matrix) + shift
        if np.isfinite(corners).all():
            line = corners.clip(-FAR, FAR).round().astype(np.int32)
            cv2.polylines(canvas, [line], True, color, width, cv2.LINE_AA)
    found = "no homography" if estimate is None else "maps a corner beyond the horizon"
    error = record.errors["ransac"][0]  # of the matches that are drawn
    if np.isfinite(error):
        found = f"corner error {error:.1f} px"
    shown = f"{len(chosen)} of {len(pairs)} matches shown, {record.mma[2]:.0%} within 3 px (green)"
    return contact_sheet([canvas], [f"{record.extractor} on {record.pair}. RANSAC: {found}; {shown}"], columns=1)
