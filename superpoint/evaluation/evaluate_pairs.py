"""Stage evaluate pairs: extractors side by side on image pairs with known homographies.

Pairs are those of a folder in the layout of HPatches or Oxford, or generated from photographs. Results (`--out`):
pairs.md, pairs.json, curves, and the features, which a second run reuses.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from rich.console import Console

from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.pairs import ViewPair
from superpoint.data.sources.streams import read_ahead
from superpoint.engine.display import watch
from superpoint.engine.processes import Processes
from superpoint.errors import UserError
from superpoint.evaluation.extractors import make_extractor
from superpoint.evaluation.feature_store import FeatureStore
from superpoint.evaluation.pair_metrics import PairRecord, measure_pair
from superpoint.evaluation.pair_report import write_report
from superpoint.evaluation.views import Job, features_of_both, find_jobs, fit_pair, load_views, within
from superpoint.features import Features
from superpoint.files import make_folder
from superpoint.matching import MATCHERS, Copies, match_views

Both = tuple[Features, Features]  # of the two views of a pair
SEARCHED = "+views"  # behind the name of an extractor
AHEAD = 4  # pairs whose figures wait to be finished: more would only hold their features in memory


@dataclass(frozen=True)
class Stores:
    """A row of the table: an extractor's features of the views, how they are matched, and the features of the views
    that repeatability is measured on (often the same).

    `searched`: the features to be matched are those of the view that `match_views` finds.
    """

    name: str
    matching: FeatureStore
    detection: FeatureStore
    searched: bool = False
    matcher: str = "mutual"

    @property
    def channels(self) -> int:
        return self.matching.extractor.channels


def evaluate_pairs(
    config: EvaluatePairsConfig,
    extractors: Sequence[str],
    *,
    data: str | Path | None = None,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    root: str | Path | None = None,
    out: str | Path = "runs/pairs",
    cache: bool = True,
) -> list[PairRecord]:
    """Measure each extractor on each pair and write the results to `out`. Return the records, by extractor, then pair.

    Args:
        extractors: see `evaluation.extractors`.
        data, images, masks, root: see `views.find_jobs`.
        cache: keep features in `out`/features and reuse those that are there.

    Raises: UserError if there is no usable pair, an extractor or its weights are unknown, or `out` cannot be written.
    """
    with Processes() as processes:
        folder = processes.decide(lambda: make_folder(out))
        cached = folder / "features" if cache else None
        stores = [row for name in different(extractors) for row in make_stores(name, config, cached)]
        different([each.name for each in stores])
        jobs, skipped = find_jobs(config, data, images, masks, root, max(each.channels for each in stores))
        records, skipped = measure_jobs(jobs, skipped, stores, config, processes)
        if processes.first:
            source = str(data or images or "the photographs of scikit-image")
            write_report(folder, records, config, source, skipped)
            Console().print(_closing(folder, stores, skipped), highlight=False)
    return records


def different(names: Sequence[str]) -> Sequence[str]:
    """Return the names. Raises: UserError if there is none, or one of them twice."""
    if not names or len(set(names)) < len(names):
        raise UserError(f"--extractors: found '{','.join(names)}', expected different ones, e.g. sift,orb")
    return names


def make_stores(name: str, config: EvaluatePairsConfig, cache: Path | None) -> list[Stores]:
    """Make an extractor's rows, one per matcher; the features lie in the folder `cache`.

    Classical extractors have no row by LightGlue. Raises: UserError for an unknown extractor.
    """
    plain = name.removesuffix(SEARCHED)
    extractor = make_extractor(plain, config)
    store, title, searched = FeatureStore(cache, extractor), extractor.name, plain != name
    title, detection = f"{title}{SEARCHED}" if searched else title, store
    if config.repeatability_size and config.repeatability_nms != config.nms_radius:
        detection = FeatureStore(cache, make_extractor(plain, config, nms_radius=config.repeatability_nms))
    if len(config.matchers) == 1:
        return [Stores(title, store, detection, searched, config.matcher)]
    matchers = [each for each in config.matchers if each in MATCHERS or not extractor.classical]
    return [Stores(f"{title} {each}", store, detection, searched, each) for each in matchers]


def matched_features(stores: Stores, pair: ViewPair) -> tuple[Features, Features]:
    """Return what an extractor finds in both views, or in the view of the first that a search finds."""
    if not stores.searched:
        return features_of_both(stores.matching, pair)
    first, second = Copies(pair.image_a, stores.matching), Copies(pair.image_b, stores.matching)
    found = match_views(first, second, matcher=stores.matcher)
    return within(found.features0, pair.valid_a), within(found.features1, pair.valid_b)


def measure_jobs(
    jobs: Sequence[Job], skipped: list[str], stores: Sequence[Stores], config: EvaluatePairsConfig, processes: Processes
) -> tuple[list[PairRecord], list[str]]:
    """Measure the pairs, each process its share. Return all records, by extractor, and why pairs were left out.

    Raises: UserError, in all processes, if one of them fails or no pair can be loaded.
    """
    first = len(jobs) * processes.rank // processes.count  # whole stretches: a sequence shares its first image
    share = jobs[first : len(jobs) * (processes.rank + 1) // processes.count]

    def measure_share() -> tuple[list[PairRecord], list[str]]:
        progress = watch(share, "pairs", enabled=processes.first)
        measured = measure_pairs(load_views(progress, skipped), stores, config)
        return list(chain.from_iterable(measured)), skipped

    gathered = processes.collect(measure_share)
    order = {each.name: index for index, each in enumerate(stores)}
    records = sorted((one for found, _ in gathered for one in found), key=lambda each: order[each.extractor])
    skipped = list(dict.fromkeys(reason for _, reasons in gathered for reason in reasons))

    def check() -> None:
        if not records:
            raise UserError(f"found no usable image pair; the first reason: {(skipped or ['none'])[0]}")

    processes.decide(check)
    return records, skipped


def measure_pairs(
    pairs: Iterable[ViewPair], stores: Sequence[Stores], config: EvaluatePairsConfig
) -> Iterator[list[PairRecord]]:
    """Yield the figures of each pair, in order, one record per extractor.

    Features are computed here, all else in threads meanwhile, which do not change the figures.
    """

    def found() -> Iterator[tuple[ViewPair, ViewPair, list[Both], list[Both | None]]]:
        other = config.repeatability_size
        for pair in pairs:
            views = fit_pair(pair, config.longest, config.size)
            small = fit_pair(pair, config.longest, other) if other else views
            matched = [matched_features(each, views) for each in stores]
            yield views, small, matched, [features_of_both(each.detection, small) if other else None for each in stores]

    threads = min(max((os.cpu_count() or 1) - 1, 1), 4)
    return read_ahead(found(), lambda each: _figures(*each, stores, config), threads=threads, ahead=AHEAD)


def _figures(
    views: ViewPair,
    small: ViewPair,
    matched: Sequence[Both],
    detected: Sequence[Both | None],
    stores: Sequence[Stores],
    config: EvaluatePairsConfig,
) -> list[PairRecord]:
    figures = []
    for row, both, seen in zip(stores, matched, detected, strict=True):
        protocol = replace(config, matcher=row.matcher)
        other = None if seen is None else (*seen, small.h_a_b)
        figures.append(measure_pair(row.name, views, *both, protocol, detected=other))
    return figures


def _closing(folder: Path, stores: Sequence[Stores], skipped: Sequence[str]) -> str:
    every = dict.fromkeys(store for each in stores for store in (each.matching, each.detection))
    computed, read, rebuilt = (sum(getattr(each, key) for each in every) for key in ("computed", "read", "rebuilt"))
    damaged = f" ({rebuilt} in place of damaged files)" if rebuilt else ""
    lines = [f"features: {computed} computed{damaged}, {read} read from the cache"]
    if skipped:
        lines.append(f"left out: {len(skipped)}")
        lines += [f"  {reason}" for reason in skipped[:5]]
        lines += ["  ..."] if len(skipped) > 5 else []
    return "\n".join([*lines, f"results: {folder}"])
