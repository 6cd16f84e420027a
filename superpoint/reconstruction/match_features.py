"""Stage match-features: matches of the photographs of a feature file, in one file for hloc and COLMAP.

Crash-safe as the export of labels is: pairs are matched in shards, which are merged at the end. Memory holds the
features of some images and the matches of one shard, however many there are.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from superpoint.config.inference import MatchingConfig
from superpoint.data.feature_file import DAMAGE, FeatureFile
from superpoint.engine.display import Display
from superpoint.engine.interrupt import StopRequest
from superpoint.engine.processes import Processes
from superpoint.errors import UserError, one_line
from superpoint.features import Features
from superpoint.files import refuse_inputs
from superpoint.labelling.shards import ShardFolder, digest
from superpoint.matching import Matches, estimate_fundamental, match
from superpoint.matching.matchers import unit_length
from superpoint.reconstruction.match_file import merge_matches, write_matches
from superpoint.reconstruction.pairs import Pair, distinct, known_pairs, sequential
from superpoint.reconstruction.retrieval import retrieve_pairs

PART = 64  # pairs of a shard: what a kill may cost
CACHE = 256 << 20  # bytes of features that stay in memory
FEW, NEIGHBOURS = 60, 20  # up to so many photographs all pairs are matched by default, above each with so many others
MIN_INLIERS = 15  # matches of a pair that agree, as COLMAP demands it
EPIPOLAR = 0.002  # of the longest side: max distance of a match from its epipolar line (2 px at 1024)


class Survey(NamedTuple):
    counts: dict[str, int]  # keypoints by image
    length: int  # of a descriptor
    digest: str  # of the content


def match_features(
    features: str | Path,
    out: str | Path,
    config: MatchingConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> int | None:
    """Match pairs of images of the feature file `features`, ours or hloc's; write the matches file `out`.

    The result depends neither on the number of processes (torchrun) nor on interruptions. Return the signal that
    stopped it before its end, else None.

    Raises: UserError for features without descriptors or of several networks, fewer than two images, a list with
        unknown images, damaged files, an `out` that exists (unless `resume` or `overwrite`) or cannot be written.
    """
    features, out = Path(features), Path(out)
    refuse_inputs(out, [features])
    shards = ShardFolder(out)
    with closing(shards), Processes() as processes:

        def prepare() -> tuple[Survey, list[Pair], dict[str, Any] | None]:
            found = survey(features)
            if overwrite:
                shards.discard()
            listed = None if config.pairs is None else digest(known_pairs(config.pairs, found.counts))
            plan = {"config": {**asdict(config), "pairs": listed}, "model": found.digest, "source": {"kind": "pairs"}}
            attributes = {"format": "superpoint matches", "key": digest(plan), "config": json.dumps(plan["config"])}
            if out.exists():
                return found, [], _complete(out, attributes, resume)
            names = list(found.counts)
            if shards.plan_file.exists() and resume:
                pairs = [(names[one], names[two]) for one, two in shards.start(plan, resume=True)["source"]["pairs"]]
                return found, pairs, attributes
            pairs = choose_pairs(features, found, config)
            numbers = {name: index for index, name in enumerate(names)}
            plan["source"] |= {"pairs": [[numbers[one], numbers[two]] for one, two in pairs]}
            shards.start(plan, resume=resume)
            return found, pairs, attributes

        found, pairs, attributes = processes.decide(prepare)
        if attributes is None:
            return None
        signals = processes.collect(lambda: _match_share(features, found, pairs, config, shards, processes, attributes))
        stopped = next((signal for signal in signals if signal is not None), None)
        if stopped is None:
            processes.decide(lambda: _finish(shards, attributes))
        return stopped


def survey(path: Path) -> Survey:
    """Look through a feature file. Raises: UserError as `match_features`."""
    counts: dict[str, int] = {}
    content: list[Any] = []
    lengths: dict[int, str] = {}
    with FeatureFile(path) as file:
        models = {str(file.open(index).attrs.get("model")): each for index, each in enumerate(file.files)}
        if len(models) > 1:
            one, two, *_ = models.values()
            raise UserError(f"{path}: found features of different networks in {one.name} and {two.name}, expected one")
        for name in file.names():
            group = file.group(name)
            if "descriptors" not in group:
                raise UserError(f"{path}: '{name}' has no descriptors, expected features of a network that has them")
            try:
                length, counts[name] = group["descriptors"].shape  # type: ignore[union-attr]
                content.append((name, counts[name], int(group.attrs.get("crc32", 0))))
            except DAMAGE as error:
                raise UserError(f"{path}: '{name}' cannot be read ({one_line(error)})") from error
            lengths.setdefault(length, name)
            if len(lengths) > 1:
                told = " and ".join(f"{length} numbers ('{name}')" for length, name in lengths.items())
                raise UserError(f"{path}: found descriptors of {told}, expected all of one network")
    if (usable := sum(map(bool, counts.values()))) < 2:
        raise UserError(f"{path}: found {usable} image(s) with keypoints, expected two or more")
    if len({name.replace("/", "-") for name in counts}) < len(counts):
        raise UserError(f"{path}: found names that differ in '/' and '-' alone, which hloc's matches files do not tell")
    return Survey(counts, next(iter(lengths)), digest(content))


def choose_pairs(features: Path, found: Survey, config: MatchingConfig) -> list[Pair]:
    """Return the pairs that the configuration asks for, each once, in the order of the images."""
    names = list(found.counts)
    pairs: list[Pair] = [] if config.pairs is None else known_pairs(config.pairs, found.counts)
    asked = config.pairs or config.sequential or config.retrieve
    if config.exhaustive or (not asked and len(names) <= FEW):
        return distinct([*pairs, *combinations(names, 2)])
    pairs += sequential(names, config.sequential)
    count = config.retrieve or (0 if asked else NEIGHBOURS)
    if count:
        with FeatureFile(features) as file:
            pairs += retrieve_pairs(names, lambda name: unit_length(np.asarray(file.read(name).descriptors)), count)
    return distinct(pairs)


def min_similarity(distance: float) -> float:
    """Return the cosine of unit descriptors at a distance of 0..2."""
    return 1 - distance**2 / 2


def agreeing(first: Features, second: Features, matches: Matches) -> Matches:
    """Return the matches that agree with an epipolar geometry, none if fewer than MIN_INLIERS do."""
    limit = EPIPOLAR * max(*first.image_size, *second.image_size, 512)
    kept = estimate_fundamental(first, second, matches, threshold=limit).inliers
    kept = kept if kept.sum() >= MIN_INLIERS else np.zeros(len(matches), bool)
    return Matches(matches.indices[kept], matches.scores[kept])


def _complete(out: Path, attributes: dict[str, Any], resume: bool) -> None:
    """Refuse an `out` that is there, but the result of the same work."""
    if not resume:
        raise UserError(f"{out}: exists already; take another --out, or --overwrite")
    with FeatureFile(out) as made:
        if made.attributes.get("key") != attributes["key"]:
            raise UserError(f"{out}: exists already, made of other features or settings; --overwrite replaces it")
    Console(stderr=True).print(f"{out}: complete already", soft_wrap=True)


def _match_share(
    path: Path,
    found: Survey,
    pairs: Sequence[Pair],
    config: MatchingConfig,
    shards: ShardFolder,
    processes: Processes,
    attributes: dict[str, Any],
) -> int | None:
    """Match the parts of this process; return the signal that stopped it."""
    finished = shards.finished()
    parts = [
        (part, pairs[part * PART : (part + 1) * PART])
        for part in range(processes.rank, -(-len(pairs) // PART), processes.count)
    ]
    done = sum(len(some) for part, some in parts if part in finished)
    unit = "pairs" if processes.count == 1 else "pairs of process 1"
    total = sum(len(some) for _, some in parts)
    size = 4 * (found.length + 3) * max(1, *found.counts.values())
    with (
        FeatureFile(path) as file,
        StopRequest() as stop,
        Display(total, done, unit, progress=processes.first) as display,
    ):
        read = lru_cache(max(2, CACHE // size))(file.read)
        for part, some in parts:
            if part in finished:
                continue
            matches: dict[Pair, Matches] = {}
            for pair in some:
                if stop.signal is not None:
                    return stop.signal
                matches[pair] = _match_pair(read(pair[0]), read(pair[1]), config)
                done += 1
                display.update(done)
            numbers = [len(each) for each in matches.values()]
            tally = [len(numbers), sum(numbers), sum(number >= MIN_INLIERS for number in numbers)]
            write_matches(shards.shard(part, 0, end=True), matches, found.counts, {**attributes, "tally": tally})
    return None


def _match_pair(first: Features, second: Features, config: MatchingConfig) -> Matches:
    floor = min_similarity(config.max_distance) if config.matcher == "mutual" else 0.0
    found = match(first, second, config.matcher, ratio=config.ratio, min_score=floor)
    return agreeing(first, second, found) if config.verify else found


def _finish(shards: ShardFolder, attributes: dict[str, Any]) -> None:
    tallies = []
    for path in shards.files():
        with FeatureFile(path) as shard:
            tallies.append(shard.attributes["tally"])
    pairs, matches, many = np.sum(tallies, axis=0).tolist() if tallies else (0, 0, 0)
    shards.merge({**attributes, "pairs": pairs}, merge_matches)
    shards.remove()
    Console().print(
        f"{matches} matches of {pairs} pairs, {many} of them with {MIN_INLIERS} or more: {shards.out}", soft_wrap=True
    )
