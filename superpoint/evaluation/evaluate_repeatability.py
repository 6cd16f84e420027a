"""Stage evaluate repeatability: detectors on generated pairs of photographs, learnt and classical ones side by side.

240x320, the 300 strongest keypoints that both views can see, 3 px and 1 px. See `evaluation.extractors` for the names.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from superpoint.config.evaluation import EvaluatePairsConfig, EvaluateRepeatabilityConfig
from superpoint.data.pairs import KINDS
from superpoint.engine.processes import Processes
from superpoint.evaluation.evaluate_pairs import Stores, different, measure_jobs
from superpoint.evaluation.extractors import make_extractor
from superpoint.evaluation.feature_store import FeatureStore
from superpoint.evaluation.pair_metrics import PairRecord
from superpoint.evaluation.pairs import bootstrap_interval
from superpoint.evaluation.tables import format_cell, make_table, publish
from superpoint.evaluation.views import find_jobs
from superpoint.files import make_folder, write_json

SIZE = [240, 320]
NMS_RADIUS = 4  # px
THRESHOLD = 1e-3  # so low that 300 keypoints are found nearly everywhere; the strongest are compared
EVERY = 5000  # keypoints: more than are left of an image by the suppression
FIGURES = {"3": ("repeatability_3", "localisation"), "1": ("repeatability_1", "localisation_1")}  # by eps


def evaluate_repeatability(
    config: EvaluateRepeatabilityConfig,
    extractors: Sequence[str],
    *,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    out: str | Path = "runs/repeatability",
) -> list[dict[str, Any]]:
    """Measure the repeatability of extractors. Return one row per extractor, as written to repeatability.json and .md.

    Args:
        extractors: see `evaluation.extractors`.
        images: folder of photographs; None = the photographs of scikit-image.
        masks: folder of their masks; no keypoint on what they ignore is counted.

    Raises: UserError for an unknown extractor or no readable photograph.
    """
    protocol = EvaluatePairsConfig(
        longest=0,
        max_keypoints=EVERY,
        nms_radius=NMS_RADIUS,
        threshold=THRESHOLD,
        repeatability_nms=0,  # they bring their own
        generated_size=SIZE,
        generated_pairs=config.pairs,
        limit=config.limit,
        seed=config.seed,
    )
    stores = []
    for name in different(extractors):
        store = FeatureStore(None, make_extractor(name, protocol, describe=False, homographies=config.homographies))
        stores.append(Stores(store.extractor.name, store, store))
    with Processes() as processes:
        folder = processes.decide(lambda: make_folder(out))
        jobs, skipped = find_jobs(protocol, None, images, masks, channels=max(each.channels for each in stores))
        records, _ = measure_jobs(jobs, skipped, stores, protocol, processes)
        rows = [summary(each.name, [one for one in records if one.extractor == each.name]) for each in stores]
        if processes.first:
            count = len({each.sequence for each in records})
            title = f"Repeatability on {len(records) // len(rows)} generated pairs of {count} photographs, 240x320"
            publish(folder / "repeatability.md", [result_table(rows, title)])
            write_json(folder / "repeatability.json", {**asdict(config), "results": rows})
    return rows


def summary(extractor: str, records: Sequence[PairRecord]) -> dict[str, Any]:
    """Return mean repeatability, its 95 % interval and localisation error over the pairs of each kind.

    A pair without keypoints in both views counts as 0: left out, it would flatter the extractor.
    """
    row: dict[str, Any] = {"extractor": extractor, "points": float(np.mean([each.counted for each in records]))}
    for kind in KINDS:
        members = [each for each in records if each.change == kind]
        row[kind] = {}
        for eps, (share, localisation) in FIGURES.items():
            shares = np.nan_to_num([getattr(each, share) for each in members])
            errors = [error for each in members if np.isfinite(error := getattr(each, localisation))]
            row[kind][eps] = {
                "repeatability": float(np.mean(shares)),
                "interval": bootstrap_interval(shares),
                "localisation_error": float(np.mean(errors)) if errors else None,
            }
    return row


def result_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """Return one row per extractor: repeatability at 3 and 1 px and the localisation error, for both kinds of pairs."""
    columns = [f"{kind} {name}" for kind in KINDS for name in ("@3 px", "@1 px", "error px")]
    table = make_table(title, ["extractor"], [*columns, "keypoints"])
    for row in rows:
        cells = []
        for kind in KINDS:
            cells += [format_cell(row[kind][eps]["repeatability"]) for eps in FIGURES]
            cells.append(format_cell(row[kind]["3"]["localisation_error"], ".2f"))
        table.add_row(row["extractor"], *cells, f"{row['points']:.0f}")
    return table
