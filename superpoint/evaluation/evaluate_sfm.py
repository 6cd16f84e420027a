"""Stage evaluate sfm: 3D models of photographs of one place, networks beside SIFT and RootSIFT.

All pairs are matched and verified; COLMAP's mapper makes one model per seed. A table of medians.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from superpoint.config.evaluation import EvaluatePairsConfig, EvaluateSfmConfig
from superpoint.data.sources.archives import Item
from superpoint.data.sources.source import open_source
from superpoint.engine.display import watch
from superpoint.errors import UserError
from superpoint.evaluation.evaluate_pairs import different
from superpoint.evaluation.extractors import make_extractor
from superpoint.evaluation.feature_store import FeatureStore
from superpoint.evaluation.tables import make_table, publish
from superpoint.evaluation.views import fit
from superpoint.features import Features
from superpoint.files import make_folder, write_json
from superpoint.geometry.homography import inverse, warp_points
from superpoint.matching import match
from superpoint.reconstruction.database import write_database
from superpoint.reconstruction.mapping import (
    Statistics,
    check_pycolmap,
    map_images,
    statistics,
    verified_pairs,
    verify,
)
from superpoint.reconstruction.match_features import min_similarity

SHARED = ("longest", "max_keypoints", "nms_radius", "threshold", "backend", "precision", "device")
FIGURES = {"registered": ".0f", "points": ".0f", "track_length": ".2f", "error": ".2f"}


def evaluate_sfm(
    config: EvaluateSfmConfig, extractors: Sequence[str], inputs: Sequence[str], out: str | Path = "runs/sfm"
) -> list[dict[str, Any]]:
    """Measure extractors on photographs of one place. Return one row per extractor and matcher, as sfm.json has them.

    Args:
        extractors: see `evaluation.extractors`.
        inputs: the photographs, see `data.sources.open_source`.

    Raises: UserError for an unknown extractor, fewer than two readable photographs, or without pycolmap.
    """
    check_pycolmap()
    protocol = EvaluatePairsConfig(**{key: getattr(config, key) for key in SHARED})
    folder = make_folder(out)
    stores = [FeatureStore(folder / "features", make_extractor(name, protocol)) for name in different(extractors)]
    source = open_source(inputs, channels=max(store.extractor.channels for store in stores))
    items = [item for part in range(source.parts(64)) for item in source.read(part, 64)]
    rows, skipped = [], dict[str, str]()
    for store in stores:
        features = _features(store, items, config.longest, skipped)
        for matcher in ["ratio"] if store.extractor.classical else config.matchers:
            rows.append({"extractor": store.extractor.name, **_measure(features, matcher, config)})
    keys = ["verified pairs", "registered", "points", "track length", "error px", "registered, min..max"]
    title = f"Models of {len(items) - len(skipped)} photographs, medians of {config.seeds} seeds"
    table = make_table(title, ["extractor", "matcher"], keys)
    for row in rows:
        spread = [one["registered"] for one in row["models"]]
        cells = [format(row["median"][key], form) for key, form in FIGURES.items()]
        pairs = f"{np.median([one['verified'] for one in row['models']]):.0f} of {row['pairs']}"
        table.add_row(row["extractor"], row["matcher"], pairs, *cells, f"{min(spread)}..{max(spread)}")
    publish(folder / "sfm.md", [table], [f"skipped {name}: {reason}" for name, reason in skipped.items()])
    write_json(folder / "sfm.json", {**asdict(config), "skipped": skipped, "results": rows})
    return rows


def _features(store: FeatureStore, items: Sequence[Item], longest: int, skipped: dict[str, str]) -> dict[str, Features]:
    """Features by name, in pixels of the photographs as read; those that cannot be read go to `skipped`."""
    found: dict[str, Features] = {}
    for item in watch(items, f"photographs by {store.extractor.name}"):
        try:
            image = item.load()
        except UserError as error:
            skipped[item.name] = str(error)
            continue
        small, matrix = fit(image, longest, [])
        seen = store(small)
        points = warp_points(seen.keypoints, inverse(matrix))
        found[item.name] = replace(seen, keypoints=points, image_size=(image.shape[1], image.shape[0]))
    if len(found) < 2:
        reason = next(iter(skipped.values()), "there are no more")
        raise UserError(f"images: found {len(found)} usable photographs, expected two or more ({reason})")
    return found


def _measure(features: dict[str, Features], matcher: str, config: EvaluateSfmConfig) -> dict[str, Any]:
    """Match all pairs and make one model per seed."""
    floor = min_similarity(config.max_distance) if matcher == "mutual" else 0.0
    pairs = list(combinations(features, 2))
    matches = {
        (one, two): match(features[one], features[two], matcher, ratio=config.ratio, min_score=floor)
        for one, two in watch(pairs, f"pairs by {matcher}")
    }
    models: list[dict[str, Any]] = []
    for seed in watch(range(config.seeds), "models"):
        with tempfile.TemporaryDirectory() as place:
            database = Path(place) / "database.db"
            write_database(database, features, matches, shared_camera=config.shared_camera)
            verify(database, seed=seed, threads=1)
            made = map_images(database, Path(place), mapper=config.mapper, seed=seed, threads=1)
            found = statistics(made, len(features))
            models.append({"verified": verified_pairs(database), **found._asdict()})
    median = {key: float(np.median([one[key] for one in models])) for key in Statistics._fields}
    return {"matcher": matcher, "pairs": len(pairs), "median": median, "models": models}
