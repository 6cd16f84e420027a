"""Stage evaluate pairs: methods side by side on image pairs with known homographies.

    superpoint evaluate pairs --extractors magicpoint,harris,sift,orb
    superpoint evaluate pairs --data hpatches --extractors superpoint:runs/x,sift,orb protocol=paper
    torchrun --nproc-per-node 2 scripts/evaluate.py pairs --data hpatches --extractors runs/x,sift

Pairs are those of a folder in the layout of HPatches or Oxford, or generated from photographs. Results (`--out`):
pairs.md, summary.csv, pairs.csv, pairs.json, curves, a gallery of pairs, and the features, which a second run reuses.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.images import sample_photographs
from superpoint.data.pairs import KINDS
from superpoint.data.sequences import find_pairs
from superpoint.data.sources.source import open_source
from superpoint.engine.processes import Processes
from superpoint.errors import UserError
from superpoint.evaluation.feature_store import FeatureStore
from superpoint.evaluation.gallery import write_gallery
from superpoint.evaluation.methods import make_method
from superpoint.evaluation.pair_metrics import Described, PairRecord, match_pair, measure_pair, measure_repeatability
from superpoint.evaluation.pair_report import write_report
from superpoint.evaluation.views import ViewPair, fit_pair, generated_views, read_pair
from superpoint.files import make_folder

AHEAD = 4  # pairs whose figures wait to be finished: more would only hold their features in memory


class Job(NamedTuple):
    """A pair that is not yet loaded. `load` raises UserError if it cannot be."""

    name: str
    load: Callable[[], ViewPair]


@dataclass(frozen=True)
class MethodStores:
    """A method's features of the views, and of those that repeatability is measured on (often the same)."""

    name: str
    matching: FeatureStore
    detection: FeatureStore


def evaluate_pairs(
    config: EvaluatePairsConfig,
    methods: Sequence[str],
    *,
    data: str | Path | None = None,
    images: str | Path | None = None,
    out: str | Path = "runs/pairs",
    gallery: int = 3,
    cache: bool = True,
) -> list[PairRecord]:
    """Measure each method on each pair and write the results to `out`; returns the records, by method, then pair.

    Args:
        methods: see `evaluation.methods`.
        data: folder of sequences; None = pairs generated from photographs.
        images: folder of photographs for these; None = those of scikit-image.
        gallery: best and worst pairs drawn for each method, as many of either; 0 = none.
        cache: keep features in `out`/features and reuse those that are there.

    Raises:
        UserError: no usable pair, an unknown method or weights, or nothing can be written.
    """
    if not methods or len(set(methods)) < len(methods):
        raise UserError(f"--extractors: found '{','.join(methods)}', expected different methods, e.g. sift,orb")
    if data is not None and images is not None:
        raise UserError("--images: found beside --data, expected one of the two")
    with Processes() as processes:
        folder = processes.decide(lambda: make_folder(out))
        stores = [make_stores(name, config, folder / "features" if cache else None) for name in methods]
        if len({each.name for each in stores}) < len(stores):
            raise UserError(f"--extractors: found {', '.join(each.name for each in stores)}, expected different ones")
        jobs, skipped = find_jobs(config, data, images)
        first = len(jobs) * processes.rank // processes.count  # whole stretches: a sequence shares its first image
        share = jobs[first : len(jobs) * (processes.rank + 1) // processes.count]
        records: list[PairRecord] = []
        failure: str | None = None
        try:
            progress = track(share, "pairs", transient=True, disable=not processes.first)
            for measured in measure_pairs(load_views(progress, skipped), stores, config):
                records += measured
        except UserError as error:  # the others wait for this process; all of them have to know
            failure = str(error)
        gathered = processes.gather((records, skipped, failure))
        failure = next((error for _, _, error in gathered if error), None)
        processes.decide(lambda: _raise(failure))
        order = {each.name: index for index, each in enumerate(stores)}
        records = sorted((record for found, _, _ in gathered for record in found), key=lambda each: order[each.method])
        skipped = list(dict.fromkeys(reason for _, reasons, _ in gathered for reason in reasons))
        if not records:
            reason = f"{data or images}: found no usable image pair; the first reason: {(skipped or ['none'])[0]}"
            processes.decide(lambda: _raise(reason))
        if processes.first:
            source = str(data or images or "the photographs of scikit-image")
            write_report(folder, records, config, source, skipped)
            if gallery:
                write_gallery(folder / "gallery", records, _redraw(jobs, stores, config), gallery)
            Console().print(_closing(folder, stores, skipped), highlight=False)
    return records


def make_stores(name: str, config: EvaluatePairsConfig, cache: Path | None) -> MethodStores:
    """Raises: UserError for an unknown method."""
    method = make_method(name, config)
    store = FeatureStore(cache, method)
    if not config.repeatability_size or config.repeatability_nms == config.nms_radius:
        return MethodStores(method.name, store, store)
    other = make_method(name, config, nms_radius=config.repeatability_nms)
    return MethodStores(method.name, store, FeatureStore(cache, other))


def find_jobs(
    config: EvaluatePairsConfig, data: str | Path | None, images: str | Path | None
) -> tuple[list[Job], list[str]]:
    """The pairs to measure, and the reasons for those left out so far. Raises: UserError if there is none."""
    if data is not None:
        found = find_pairs(data)
        return [Job(files.name, lambda files=files: read_pair(files)) for files in found.pairs], found.skipped
    photographs = _photographs(images, config.limit)
    count, size = config.generated_pairs, (config.generated_size[0], config.generated_size[1])

    @lru_cache(maxsize=1)  # one photograph makes several pairs, one after the other
    def views(place: int) -> list[ViewPair]:
        name, load = photographs[place]
        return list(generated_views(load(), name, count=count, size=size, seed=config.seed))

    jobs = [
        Job(f"{name}/{kind}-{index}", lambda place=place, which=which * count + index: views(place)[which])
        for place, (name, _) in enumerate(photographs)
        for which, kind in enumerate(KINDS)
        for index in range(count)
    ]
    return jobs, []


def _photographs(folder: str | Path | None, limit: int) -> list[tuple[str, Callable[[], NDArray[np.uint8]]]]:
    """(name, how to read it) of a folder or of scikit-image; a folder is gone through in even steps, all of it."""
    if folder is None:
        rgb = sample_photographs()[: limit or None]
        grays = [(name, np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)) for name, image in rgb]
        return [(name, lambda gray=gray: gray) for name, gray in grays]
    source = open_source([str(folder)])
    items = list(source.read(0, max(len(source), 1)))
    count = min(limit or len(items), len(items))
    chosen = [items[place * len(items) // count] for place in range(count)]
    return [(item.name, item.load) for item in chosen]


def load_views(jobs: Iterable[Job], skipped: list[str]) -> Iterator[ViewPair]:
    """The pairs that can be loaded; reasons of the others are added to `skipped`."""
    for job in jobs:
        try:
            yield job.load()
        except UserError as error:
            skipped.append(str(error))


def measure_pairs(
    pairs: Iterable[ViewPair], stores: Sequence[MethodStores], config: EvaluatePairsConfig
) -> Iterator[list[PairRecord]]:
    """Figures of each pair, in order, one record a method.

    Features are computed here, all else in threads meanwhile: matching, homographies and figures take as long as a
    third of the forward passes (VGG, one order of the matches), and neither they nor the runtimes of networks hold
    Python's lock. A pair's figures do not depend on the number of threads.
    """
    every = {id(store): store for each in stores for store in (each.matching, each.detection)}.values()
    with ThreadPoolExecutor(min(max((os.cpu_count() or 1) - 1, 1), 4), thread_name_prefix="measure") as pool:
        waiting: deque[Future[list[PairRecord]]] = deque()
        for store in every:
            store.writer = pool
        try:
            for pair in pairs:
                views = fit_pair(pair, config.longest, _size(config.size))
                other = _size(config.repeatability_size)
                small = fit_pair(pair, config.longest, other) if other else views
                found = [_describe(method, views, small) for method in stores]
                waiting.append(pool.submit(_figures, views, small, found, config))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            for store in every:
                store.flush()
        finally:
            for future in waiting:
                future.cancel()
            for store in every:
                store.writer = None


class Found(NamedTuple):
    """A method's features of both views, and of those that repeatability is measured on."""

    method: str
    matching: tuple[Described, Described]
    detection: tuple[Described, Described]


def _describe(method: MethodStores, views: ViewPair, small: ViewPair) -> Found:
    both = method.matching(views.image_a), method.matching(views.image_b)
    if small is views:
        return Found(method.name, both, both)
    return Found(method.name, both, (method.detection(small.image_a), method.detection(small.image_b)))


def _figures(views: ViewPair, small: ViewPair, found: Sequence[Found], config: EvaluatePairsConfig) -> list[PairRecord]:
    names = (views.name, views.sequence, views.change)
    records = []
    for method, (a, b), seen in found:
        repeated = measure_repeatability(*seen, small.h_a_b, config)
        outcome = match_pair(a, b, config)
        records.append(measure_pair(method, names, a, b, views.h_a_b, outcome, config, repeated))
    return records


def _raise(message: str | None) -> None:
    """For `Processes.decide`, by which one process reports an error that all of them know of."""
    if message is not None:
        raise UserError(message)


def _size(sides: Sequence[int]) -> tuple[int, int] | None:
    return (sides[0], sides[1]) if sides else None


def _redraw(jobs: Sequence[Job], stores: Sequence[MethodStores], config: EvaluatePairsConfig):
    """A function (method, pair's name) -> what the gallery draws; features come from the cache where there is one."""
    by_name = {job.name: job for job in jobs}
    by_method = {each.name: each.matching for each in stores}

    def redraw(method: str, name: str):
        views = fit_pair(by_name[name].load(), config.longest, _size(config.size))
        a, b = by_method[method](views.image_a), by_method[method](views.image_b)
        return views, a, b, match_pair(a, b, replace(config, orders=1))

    return redraw


def _closing(folder: Path, stores: Sequence[MethodStores], skipped: Sequence[str]) -> str:
    all_stores = list({id(store): store for each in stores for store in (each.matching, each.detection)}.values())
    computed, read, rebuilt = (
        sum(getattr(each, key) for each in all_stores) for key in ("computed", "read", "rebuilt")
    )
    damaged = f" ({rebuilt} in place of damaged files)" if rebuilt else ""
    lines = [f"features: {computed} computed{damaged}, {read} read from the cache"]
    if skipped:
        lines.append(f"left out: {len(skipped)}")
        lines += [f"  {reason}" for reason in skipped[:5]]
        lines += ["  ..."] if len(skipped) > 5 else []
    return "\n".join([*lines, f"results: {folder}"])
