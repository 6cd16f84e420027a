"""Stage export-detections: images in, one feature file out. Killed at any instant, it loses one shard at most.

superpoint export-detections photos --out labels.h5 --weights runs/magicpoint
superpoint export-detections photos --out features.h5 adaptation=none resize=1024
torchrun --nproc-per-node 2 scripts/export_detections.py "shards/train-{000..127}.tar" --out labels.h5 --resume
"""

from __future__ import annotations

import importlib.metadata
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from superpoint.config import ExportConfig, dump_config
from superpoint.config.export import MAY_CHANGE
from superpoint.data.archives import Hdf5Images, Item
from superpoint.data.label_writer import SAME_NAME, check_name
from superpoint.data.labels import Features, LabelFile
from superpoint.data.read_ahead import read_ahead
from superpoint.data.sources import Files, ImageSource, open_source
from superpoint.engine.interrupt import StopRequest
from superpoint.errors import UserError
from superpoint.evaluation.label_summary import Summary, summarise
from superpoint.files import write_atomically
from superpoint.models import load_model
from superpoint.stages.export_progress import ExportProgress
from superpoint.stages.labelling import Labeller, Shrunk, labeller, model_hash, shrink, working_size
from superpoint.stages.labels import print_summary
from superpoint.stages.processes import Processes
from superpoint.stages.shards import ShardFolder, digest

AHEAD = 4  # images a reader may have waiting


@dataclass(frozen=True)
class ExportResult:
    """`path`: the feature file, or the folder of shards. `signal`: what stopped the export before its end, else None.

    `rate`: images a second of this process in this session.
    """

    path: Path
    summary: Summary | None
    rate: float
    signal: int | None = None


class Task(NamedTuple):
    """An image of a part, or, with no item, the end of the part and what broke it off."""

    part: int
    item: Item | None
    error: UserError | None = None


def export_detections(
    config: ExportConfig,
    inputs: Sequence[str],
    out: str | Path,
    *,
    root: str | Path | None = None,
    resume: bool = False,
) -> ExportResult:
    """Label all images of `inputs` (see `data.sources.open_source`) and write the feature file `out`.

    Images that cannot be read are skipped, with the reason in the file and in `<out>.summary.json`. The result does
    not depend on the number of processes, nor on interruptions.

    Raises:
        UserError: no images, no weights, nothing can be written; `out` exists, or holds an export in progress and
            `resume` is not set; a resume with other settings, weights or inputs; a tar that breaks off.
    """
    out = Path(out)
    if out.suffix.lower() not in (".h5", ".hdf5"):
        raise UserError(f"--out: found '{out}', expected a file name that ends in .h5")
    with Processes() as processes, warnings.catch_warnings():  # decoders change the filters, in several threads
        model = load_model(config.weights)
        settings = {
            "config": {key: value for key, value in asdict(config).items() if key not in (*MAY_CHANGE, "weights")},
            "model": model_hash(model),
        }
        shards = ShardFolder(out)

        def prepare() -> tuple[ImageSource, bool]:
            source = open_source(inputs, root, prefix=config.prefix)
            return _begin(shards, {**settings, "source": source.describe()}, source, resume)

        source, complete = processes.decide(prepare)
        plan = {**settings, "source": source.describe()}
        kept = {field.name: field.default for field in fields(ExportConfig) if field.name in MAY_CHANGE}
        attributes = {
            "writer": f"superpoint {importlib.metadata.version('superpoint')}",
            "model": settings["model"],
            "config": dump_config(replace(config, **kept)),
            "key": digest(settings),
            "plan": digest(plan),
        }
        rate, signal = 0.0, None
        if not complete:
            rate, signal = _label_share(config, model, source, shards, processes, attributes)
            if signal is not None:
                return ExportResult(shards.path, None, rate, signal)
        rates = processes.gather(rate)
        summary = processes.decide(lambda: _finish(config, shards, attributes, sum(rates), complete))
        return ExportResult(out if config.merge else shards.path, summary, rate)


def _begin(shards: ShardFolder, plan: dict[str, Any], source: ImageSource, resume: bool) -> tuple[ImageSource, bool]:
    """The images of the plan that holds, and whether the export is complete already."""
    console = Console(stderr=True)
    if shards.out.exists():
        with LabelFile(shards.out) as made:
            same = made.attributes.get("plan") == digest(plan | {"source": _planned(shards, source).describe()})
        if not resume:
            raise UserError(f"{shards.out}: exists already; take another --out, or remove it")
        if not same:
            raise UserError(f"{shards.out}: exists already, made from other images or settings; take another --out")
        console.print(f"{shards.out}: complete already", soft_wrap=True)
        return _planned(shards, source), True
    shards.start(plan, resume=resume)
    planned = _planned(shards, source)
    if isinstance(source, Files) and source.ignored:
        console.print(f"passed over {source.ignored} files that are no images")
    if isinstance(source, (Files, Hdf5Images)) and isinstance(planned, (Files, Hdf5Images)):
        new, gone = (len(set(a) - set(b)) for a, b in ((source.names, planned.names), (planned.names, source.names)))
        if new:
            console.print(f"{new} images are new since the export began, and are left to another one")
        if gone:
            console.print(f"{gone} images are gone since the export began")
    return planned, False


def _planned(shards: ShardFolder, source: ImageSource) -> ImageSource:
    """`source` with the images that the first session listed, if there was one."""
    if not shards.plan_file.exists():
        return source
    plan = shards.read_plan()["source"]
    if isinstance(source, Files):
        return Files(source.root, plan["names"]) if plan["kind"] == "files" else source
    if isinstance(source, Hdf5Images):
        return Hdf5Images(source.path, plan["names"]) if plan["kind"] == "hdf5" else source
    return source


def _label_share(
    config: ExportConfig,
    model: Any,
    source: ImageSource,
    shards: ShardFolder,
    processes: Processes,
    attributes: dict[str, Any],
) -> tuple[float, int | None]:
    """Label this process's parts (every `count`-th); returns images a second, and the signal that stopped it or None.

    Raises: UserError if the disk is full, or, after all other parts, that a tar broke off.
    """
    finished = shards.finished()
    mine = list(range(processes.rank, source.parts(config.shard_size), processes.count))
    label: Labeller = labeller(model, config)

    def tasks() -> Iterator[Task]:
        for part in mine:
            done, whole = finished.get(part, (0, False))
            if whole:
                continue
            try:
                for item in source.read(part, config.shard_size, done * config.shard_size):
                    yield Task(part, item)
            except UserError as error:
                yield Task(part, None, error)
            else:
                yield Task(part, None)

    def load(task: Task) -> tuple[Task, Shrunk | UserError | None]:
        if task.item is None:
            return task, None
        try:
            check_name(task.item.name)
            return task, shrink(task.item.load(), config)
        except ValueError as error:
            return task, UserError(str(error))
        except UserError as error:
            return task, error

    broken: list[str] = []
    writer = _PartWriter(shards, finished, config.shard_size, attributes)
    total, done, unit = _amount(source, mine, finished, config.shard_size)
    stream = read_ahead(tasks(), load, threads=config.readers, ahead=AHEAD * config.readers)
    with StopRequest() as stop, ExportProgress(total, done, unit, enabled=processes.first) as progress:
        try:
            for task, image in stream:
                if stop.signal is not None:
                    break
                if task.item is None:
                    if task.error is not None:
                        progress.message(f"{task.error}", warning=True)
                    if task.error is None or config.keep_broken:
                        writer.end(task.part, task.error)
                    else:
                        broken.append(str(task.error))
                        writer.discard()
                    progress.part()
                elif isinstance(image, Shrunk):
                    writer.add(task.part, task.item.name, label(image, task.item.name))
                    progress.image(skipped=False)
                else:
                    reason = str(image).removeprefix(f"{task.item.name}: ")
                    progress.message(f"skipped {task.item.name}: {reason}", warning=True)
                    writer.add(task.part, task.item.name, reason)
                    progress.image(skipped=True)
        finally:
            stream.close()  # type: ignore[attr-defined]
    if stop.signal is not None:
        return progress.rate, stop.signal
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise UserError(f"{broken[0]}{more}; all other parts are finished: --resume, or keep_broken=true")
    return progress.rate, None


def _amount(
    source: ImageSource, mine: Sequence[int], finished: dict[int, tuple[int, bool]], size: int
) -> tuple[int, int, str]:
    """(work of this process, how much of it is done, its unit)."""
    ended = [part for part in mine if finished.get(part, (0, False))[1]]
    if not len(source):
        return len(mine), len(ended), "tars"

    def images(parts: Sequence[int]) -> int:
        return sum(min(size, len(source) - part * size) for part in parts)

    return images(mine), images(ended), "images"


class _PartWriter:
    """Collects the images of a part and writes them in shards. A full shard waits for the next image or the end, for
    the last one of a part bears a mark.
    """

    def __init__(
        self, shards: ShardFolder, finished: dict[int, tuple[int, bool]], size: int, attributes: dict[str, Any]
    ) -> None:
        self.shards, self.size, self.attributes = shards, size, attributes
        self.next = {part: count for part, (count, _) in finished.items()}
        self.discard()

    def discard(self) -> None:
        self.features: dict[str, Features] = {}
        self.skipped: dict[str, str] = {}
        self.count = 0

    def add(self, part: int, name: str, outcome: Features | str) -> None:
        if self.count == self.size:
            self._write(part, end=False)
        self.count += 1
        if isinstance(outcome, str):
            self.skipped[name] = outcome
        elif name in self.features:
            self.skipped[name] = SAME_NAME
        else:
            self.features[name] = outcome

    def end(self, part: int, error: UserError | None = None) -> None:
        if error is not None:
            self.skipped[f"(part {part})"] = str(error)
        self._write(part, end=True)

    def _write(self, part: int, *, end: bool) -> None:
        shard = self.next.get(part, 0)
        self.shards.write(part, shard, self.features, self.skipped, end=end, attributes=self.attributes)
        self.next[part] = shard + 1
        self.discard()


def _finish(
    config: ExportConfig, shards: ShardFolder, attributes: dict[str, Any], rate: float, complete: bool
) -> Summary:
    """Merge, summarise, tidy up, report."""
    if config.merge and not complete:
        shards.merge(attributes)
    path = shards.out if config.merge else shards.path
    with LabelFile(path) as labels:
        skipped = labels.skipped()
        size = lambda width, height: working_size(width, height, config.resize)  # noqa: E731
        summary = summarise((features for _, features in labels), size, len(skipped))
    report = {**summary.as_dict(), "model": attributes["model"], "reasons": skipped}
    target = shards.out.with_name(f"{shards.out.name}.summary.json")
    write_atomically(target, lambda file: file.write((json.dumps(report, indent=1) + "\n").encode()))
    if config.merge and shards.path.exists():
        shards.remove()
    print_summary(path, summary, skipped, f"{rate:.2f} images/s" if rate else "")
    return summary
