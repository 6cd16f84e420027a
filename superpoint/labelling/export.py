"""Stage export-detections: images in, one feature file out. A kill costs half a minute, a stop nothing."""

import importlib.metadata
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from rich.console import Console

from superpoint.backends import resolve
from superpoint.budget import Budget
from superpoint.config import LabellingConfig, dump_config
from superpoint.config.labelling import MAY_CHANGE
from superpoint.data.feature_file import FeatureFile
from superpoint.data.feature_writer import check_name
from superpoint.data.masks import Masks, inner
from superpoint.data.sources.archives import Hdf5Images, ImageSource, Item, NamedImages
from superpoint.data.sources.source import Files, open_source
from superpoint.data.sources.streams import read_ahead
from superpoint.engine.display import Display
from superpoint.engine.interrupt import StopRequest
from superpoint.engine.processes import Processes
from superpoint.errors import UserError, one_line
from superpoint.features import Features
from superpoint.files import refuse_inputs, write_json
from superpoint.labelling import pace
from superpoint.labelling.labeller import Labeller, WorkingImage, labeller, read
from superpoint.labelling.memory import NoRoomError
from superpoint.labelling.shards import PartWriter, ShardFolder, digest
from superpoint.labelling.show import print_summary, summarise_labels
from superpoint.labelling.summary import Summary
from superpoint.models import load_network
from superpoint.models.weights import model_hash

AHEAD = 4  # images a reader may have waiting


@dataclass(frozen=True)
class ExportResult:
    path: Path  # the feature file, or the folder of shards
    summary: Summary | None
    signal: int | None = None  # what stopped the export before its end


class Share(NamedTuple):
    """What a process did: images per second, the tars that broke off, the signal that stopped it.

    done, total: of its images or, where only reading counts them, of its tars.
    """

    rate: float = 0.0
    broken: tuple[str, ...] = ()
    signal: int | None = None
    done: int = 0
    total: int = 0


class Task(NamedTuple):
    """An image of a part, or (no item) the end of the part and what broke it off."""

    part: int
    item: Item | None
    error: UserError | None = None


def export_detections(
    config: LabellingConfig,
    inputs: Sequence[str],
    out: str | Path,
    *,
    root: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    budget: Budget | None = None,
) -> ExportResult:
    """Label all images of `inputs` (see `data.sources.open_source`) and write the feature file `out`.

    Images that cannot be read are skipped, with the reason in the file and in `<out>.summary.json`. The result does
    not depend on the number of processes, nor on interruptions. With a `budget` there are as many views as it is enough
    for, see `pace.fit_labelling`, and when it is spent, the file holds the images that are labelled by then.

    Raises: UserError for missing images or weights; an `out` that exists, is in progress or cannot be written; a resume
        with other settings, weights or inputs; a tar that breaks off.
    """
    out = Path(out)
    shards = ShardFolder(out)
    # Decoders change the warnings, in threads.
    with closing(shards), Processes() as processes, warnings.catch_warnings():
        model = load_network(config.weights)
        # "auto" is the same in all processes: each choice gives other last bits.
        choice = processes.decide(lambda: resolve(config.backend, config.precision, config.device))
        settled = dict(zip(("backend", "precision", "device"), choice, strict=True))
        config = replace(config, **settled)  # type: ignore[arg-type]
        masks = None if config.masks is None else Masks(config.masks)

        hashes = {"model": model_hash(model), **({} if masks is None else {"masks": masks.digest()})}

        def settings_of(config: LabellingConfig) -> dict[str, Any]:
            decides = {k: value for k, value in asdict(config).items() if k not in (*MAY_CHANGE, "weights", "masks")}
            return {"config": decides, **hashes}

        def prepare() -> tuple[LabellingConfig, ImageSource, bool, dict[str, Any]]:
            source = open_source(inputs, root, prefix=config.prefix, channels=model.channels)
            if masks is not None:
                masks.check(getattr(source, "names", ()), root=getattr(source, "root", None))
            if overwrite:
                refuse_inputs(out, inputs)
                shards.discard()
            asked, chosen = {**settings_of(config), "source": source.describe()}, config
            if budget is not None and not out.exists():
                if shards.plan_file.exists():  # its views and images stay
                    views, source = shards.read_plan()["config"]["adaptation"]["homographies"], _planned(shards, source)
                    chosen = replace(config, adaptation=replace(config.adaptation, homographies=views))
                else:
                    chosen, count = pace.fit_labelling(config, model, source, masks, budget, processes.count)
                    source = _some(source, count)
            plan = {**settings_of(chosen), "source": source.describe()}
            source, complete = _begin(shards, plan, source, resume, asked)
            # The file tells what was asked for: the same command, --resume, finds it complete.
            told = asked if budget is not None else plan | {"source": source.describe()}
            return chosen, source, complete, told

        config, source, complete, plan = processes.decide(prepare)
        settings = settings_of(config)
        kept = {field.name: field.default for field in fields(LabellingConfig) if field.name in MAY_CHANGE}
        attributes = {
            **settings,
            "writer": f"superpoint {importlib.metadata.version('superpoint')}",
            "frame": config.written,
            "channels": model.channels,
            "config": dump_config(replace(config, **kept)),
            "key": digest(settings),
            "plan": digest(plan),
        }
        shares = [Share()]
        if not complete:
            shares = processes.collect(
                lambda: _label_share(config, model, source, masks, shards, processes, attributes, budget)
            )
            signal = next((share.signal for share in shares if share.signal is not None), None)
            if signal is not None:
                if processes.first:
                    done, total = (sum(getattr(share, key) for share in shares) for key in ("done", "total"))
                    kept = f"{done} of {total} {_unit(source)} are kept in {shards.path}"
                    Console(stderr=True).print(kept, soft_wrap=True, highlight=False)
                return ExportResult(shards.path, None, signal)
        path = out if complete or config.merge else shards.path

        def finish() -> Summary:
            broken = [text for share in shares for text in share.broken]
            if broken:
                more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
                raise UserError(f"{broken[0]}{more}; all other parts are finished: --resume, or keep_broken=true")
            if config.merge and not complete:
                shards.merge(attributes)
            notes = [f"{rate:.2f} images/s"] if (rate := sum(share.rate for share in shares)) else []
            if masks is not None:
                with FeatureFile(path) as labels:
                    notes.append(masks.check(getattr(source, "names", None) or labels.names(), refuse=False))
            facts: dict[str, Any] = {"frame": config.frame, "model": attributes["model"]}
            if isinstance(source, Files):
                facts["passed_over"] = source.ignored
                notes.append(source.passed_over())
            done, total = sum(share.done for share in shares), len(plan["source"].get("names", ()))
            if budget is not None and not complete and done < total:
                facts["left_out"] = total - done
                notes.append(f"{done} of {total} images labelled, as many as the time was enough for")
            return _finish(config, shards, path, facts, ", ".join(filter(None, notes)))

        return ExportResult(path, processes.decide(finish))


def _begin(
    shards: ShardFolder, plan: dict[str, Any], source: ImageSource, resume: bool, asked: dict[str, Any]
) -> tuple[ImageSource, bool]:
    """The images of the plan that holds, and whether the export is complete already; `asked`: without a budget."""
    console = Console(stderr=True)
    if shards.out.exists():
        plans = [asked, plan | {"source": _planned(shards, source).describe()}]
        with FeatureFile(shards.out) as made:
            same = made.attributes.get("plan") in [digest(each) for each in plans]
        if not resume:
            raise UserError(f"{shards.out}: exists already; take another --out, or --overwrite")
        if not same:
            raise UserError(
                f"{shards.out}: exists already, made from other images or settings; take another --out, or --overwrite"
            )
        console.print(f"{shards.out}: complete already", soft_wrap=True)
        return _planned(shards, source), True
    shards.start(plan, resume=resume)
    planned = _planned(shards, source)
    if isinstance(source, NamedImages) and isinstance(planned, NamedImages):
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
    return _named(source, shards.read_plan()["source"])


def _some(source: ImageSource, count: int) -> ImageSource:
    """`count` images of a source in even steps, all of them where their number is not known."""
    if not isinstance(source, NamedImages) or count >= len(source):
        return source
    chosen, described = [index * len(source) // count for index in range(count)], source.describe()
    lists = {key: [described[key][index] for index in chosen] for key in ("names", "sizes") if key in described}
    return _named(source, described | lists)


def _named(source: ImageSource, plan: dict[str, Any]) -> ImageSource:
    """The images of a source that a plan names."""
    if isinstance(source, Files) and plan["kind"] == "files":
        return Files(source.root, plan["names"], source.ignored, plan["sizes"], source.channels)
    if isinstance(source, Hdf5Images) and plan["kind"] == "hdf5":
        return Hdf5Images(source.path, plan["names"], source.channels)
    return source


def _label_share(
    config: LabellingConfig,
    model: Any,
    source: ImageSource,
    masks: Masks | None,
    shards: ShardFolder,
    processes: Processes,
    attributes: dict[str, Any],
    budget: Budget | None,
) -> Share:
    finished = shards.finished()
    mine = list(range(processes.rank, source.parts(config.shard_size), processes.count))
    kept = shards.kept(mine, finished)
    label: Labeller = labeller(model, config)

    def tasks() -> Iterator[Task]:
        for part in mine:
            done, whole = finished.get(part, (0, False))
            if whole:
                continue
            try:
                skip = done * config.shard_size + (kept[part].count if part in kept else 0)
                for item in source.read(part, config.shard_size, skip):
                    yield Task(part, item)
            except UserError as error:
                yield Task(part, None, error)
            else:
                yield Task(part, None)

    def load(task: Task) -> tuple[Task, WorkingImage | str]:
        """Return the image, or why it is skipped."""
        if task.item is None:
            return task, ""
        try:
            check_name(task.item.name)
            return task, read(task.item, config, masks)
        except UserError as error:
            return task, str(error).removeprefix(f"{task.item.name}: ")
        except MemoryError:
            return task, "does not fit into the memory"
        except (ValueError, cv2.error) as error:
            return task, one_line(error)

    stop = StopRequest()

    def interrupted() -> bool:
        return stop.signal is not None or (budget is not None and new >= pace.LEAST and not budget.left)

    broken: list[str] = []
    writer = PartWriter(shards, finished, config.shard_size, attributes, kept)
    images = len(source)
    size = {part: min(config.shard_size, images - part * config.shard_size) if images else 1 for part in mine}
    done = sum(count for part, count in size.items() if finished.get(part, (0, False))[1])
    if images:
        done += sum(collected.count for collected in kept.values())
    total, new, skipped, began = sum(size.values()), 0, 0, time.monotonic()
    unit = _unit(source) if processes.count == 1 else f"{_unit(source)} of process 1"
    stream = read_ahead(
        tasks(),
        load,
        threads=config.readers,
        ahead=AHEAD * config.readers,
        interrupted=interrupted,
    )
    with closing(source), stop, Display(total, done, unit, progress=processes.first) as display:
        try:
            for task, image in stream:
                if interrupted():
                    break
                if task.item is None:
                    if task.error is not None:
                        display.message(f"{task.error}", warning=True)
                    if task.error is None or config.keep_broken:
                        writer.end(task.part, task.error)
                    else:
                        broken.append(str(task.error))
                        writer.discard()
                    done += 0 if images else 1
                    continue
                name = task.item.name
                outcome: Features | str
                try:
                    outcome = image if isinstance(image, str) else label(image, name)
                except NoRoomError as error:
                    outcome = str(error).removeprefix(f"{name}: ")
                if isinstance(outcome, str):
                    display.message(f"skipped {name}: {outcome}", warning=True)
                elif not isinstance(image, str) and image.mask is not None and not inner(image.mask).any():
                    display.message(f"{name}: its mask keeps nothing, so there is no keypoint", warning=True)
                writer.add(task.part, name, outcome)
                new, skipped, done = new + 1, skipped + isinstance(outcome, str), done + (images > 0)
                display.update(done, {"images/s": new / (time.monotonic() - began), "skipped": skipped})
            if stop.signal is not None:
                writer.keep()
            elif writer.part is not None:  # the time is up: what is labelled is all
                writer.end(writer.part)
        except UserError as error:
            if processes.count > 1:  # reported when all have ended
                display.message(f"process {processes.rank + 1} ends: {error}", warning=True)
            raise
        finally:
            stream.close()  # type: ignore[attr-defined]
    return Share(new / (time.monotonic() - began), tuple(broken), stop.signal, done, total)


def _unit(source: ImageSource) -> str:
    """Return what can be counted before it is read."""
    return "images" if len(source) else "tars"


def _finish(config: LabellingConfig, shards: ShardFolder, path: Path, facts: dict[str, Any], note: str) -> Summary:
    """Summarise `path`, tidy up, report."""
    with FeatureFile(path) as labels:
        summary, skipped = summarise_labels(labels, config.resize, config.seen), labels.skipped()
    report = {**summary.as_dict(), **facts, "reasons": skipped}
    write_json(shards.out.with_name(f"{shards.out.name}.summary.json"), report)
    if path == shards.out and shards.path.exists():
        shards.remove()
    print_summary(path, summary, skipped, note, frame=config.frame)
    return summary
