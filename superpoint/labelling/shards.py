"""The folder of an export in progress: what is to be done, and the shards that are.

    <out>.shards/plan.json          settings, hash of the weights, and the images, fixed by the first session
                 run.lock               held by the export that works here
                 000007-000000-end.h5   part 7, first shard of it and its last
                 000008-000000.part     what is done of a shard of part 8, written every KEEP_SECONDS and at a stop

A shard is a feature file, written whole or not at all. A part is `shard_size` images in one shard, or a tar in several.
"""

import glob
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from superpoint.data.feature_file import FeatureFile
from superpoint.data.feature_writer import SAME_NAME, merge_features, save_features
from superpoint.engine.resume import config_differences
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.files import make_folder, read_text, write_json
from superpoint.lock import FolderLock

PLAN_VERSION = 4
SHARD = re.compile(r"(\d{6,})-(\d{6,})(-end)?\.h5")
KEEP_SECONDS = 30.0  # of work that a kill may cost, besides the image it meets


@dataclass
class Collected:
    """The images of a shard so far; `count`: all of them, those skipped too."""

    features: dict[str, Features] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    count: int = 0


class ShardFolder:
    def __init__(self, out: str | Path) -> None:
        self.out = Path(out)
        self.path = self.out.with_name(f"{self.out.name}.shards")
        self.plan_file = self.path / "plan.json"
        self._lock = FolderLock(self.path)

    def start(self, plan: Mapping[str, Any], *, resume: bool) -> dict[str, Any]:
        """Make the folder with this plan, or resume; return the plan that holds. Locks the folder until `close`.

        Raises: UserError if it exists and `resume` is not set, another export works on it, settings, weights or inputs
            differ, or nothing can be written.
        """
        make_folder(self.out.parent)
        if self.path.exists() and not resume:
            raise UserError(f"{self.path}: holds an export in progress; go on by --resume, or anew by --overwrite")
        make_folder(self.path)
        self.close()
        self._lock.claim("exports into it")
        escaped = glob.escape(self.out.name)
        for leftover in (*self.path.glob("*.tmp"), *self.out.parent.glob(f"{escaped}.*.tmp")):
            leftover.unlink()  # of a session that was killed while it wrote
        plan = {"version": PLAN_VERSION, **plan}
        if self.plan_file.exists():
            before = self.read_plan()
            _compare(before, plan, self.path)
            return before
        if self.files():
            raise UserError(f"{self.path}: holds shards but no plan.json; remove the folder")
        write_json(self.plan_file, plan)
        return plan

    def discard(self) -> None:
        """Remove the file and its unfinished export. Raises: UserError if one is at work."""
        if self.path.exists():
            self.close()
            self._lock.claim("exports into it")
            self.close()
            shutil.rmtree(self.path)
        self.out.unlink(missing_ok=True)

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.release()

    def read_plan(self) -> dict[str, Any]:
        try:
            plan = json.loads(read_text(self.plan_file))
            if plan["version"] == PLAN_VERSION:
                return plan
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.plan_file}: cannot be read ({error}); remove {self.path}") from error
        raise UserError(f"{self.plan_file}: found version {plan['version']}, expected {PLAN_VERSION}")

    def files(self) -> list[Path]:
        """Return the finished shards in the order of their images."""
        return [path for *_, path in self._numbered()]

    def _numbered(self) -> list[tuple[int, int, bool, Path]]:
        """Return part, number in the part, whether it is the last there, and path of each finished shard, in order."""
        found = [(SHARD.fullmatch(path.name), path) for path in self.path.glob("*.h5")]
        return sorted((int(match[1]), int(match[2]), match[3] is not None, path) for match, path in found if match)

    def finished(self) -> dict[int, tuple[int, bool]]:
        """Return part -> (number of its first shards that are there, whether these are all)."""
        done: dict[int, tuple[int, bool]] = {}
        for part, shard, end, _ in self._numbered():
            if shard == done.get(part, (0, False))[0]:
                done[part] = (shard + 1, end)
        return done

    def kept(self, parts: Collection[int], finished: Mapping[int, tuple[int, bool]]) -> dict[int, Collected]:
        """Return part -> what a session before had done of the next shard, for each of `parts` with such a start.

        Raises: UserError if it is damaged.
        """
        found: dict[int, Collected] = {}
        for path in self.path.glob("*.part"):
            part, shard = (int(number) for number in path.stem.split("-"))
            if part in parts and finished.get(part, (0, False)) == (shard, False):
                with FeatureFile(path) as file:
                    found[part] = Collected(dict(file), file.skipped(), int(file.attributes["done"]))
        return found

    def keep(self, part: int, shard: int, collected: Collected) -> None:
        """Write what is done of a shard that goes on. Raises: UserError as `write`."""
        self._save(self._begun(part, shard), collected, {"done": collected.count})

    def shard(self, part: int, shard: int, *, end: bool) -> Path:
        """Return the place of a finished shard; `end`: it is the last of its part."""
        return self.path / f"{part:06d}-{shard:06d}{'-end' if end else ''}.h5"

    def write(self, part: int, shard: int, collected: Collected, *, end: bool, attributes: Mapping[str, Any]) -> None:
        """Write a finished shard. Raises: UserError if the disk is full or cannot be written."""
        self._save(self.shard(part, shard, end=end), collected, attributes)
        self._begun(part, shard).unlink(missing_ok=True)

    def _begun(self, part: int, shard: int) -> Path:
        return self.path / f"{part:06d}-{shard:06d}.part"

    def _save(self, path: Path, collected: Collected, attributes: Mapping[str, Any]) -> None:
        try:
            save_features(path, collected.features, {**attributes, "skipped": json.dumps(collected.skipped)})
        except UserError as error:
            raise UserError(f"{error}; the shards before it are whole: mend this, then --resume") from error

    def merge(
        self, attributes: Mapping[str, Any], merge: Callable[[list[Path], Path, dict[str, Any]], None] = merge_features
    ) -> None:
        """Merge all shards into `out`; see `merge_features`.

        Raises: UserError if a shard is damaged or of other settings, or the disk has no room.
        """
        files, skipped = self.files(), {}
        for path in files:
            with FeatureFile(path) as shard:
                if shard.attributes.get("key") != attributes["key"]:
                    raise UserError(f"{path}: found a shard of other settings or weights; remove it, then --resume")
                skipped |= shard.skipped()
        needed, free = sum(path.stat().st_size for path in files), shutil.disk_usage(self.out.parent).free
        if free < needed:
            raise UserError(
                f"{self.out}: merging needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; the shards in "
                f"{self.path} are complete: make room, then --resume (or merge=false)"
            )
        merge(files, self.out, {**attributes, "skipped": json.dumps(skipped)})

    def remove(self) -> None:
        """Remove the folder, the plan last: it tells the folder from a foreign one."""
        for path in (*self.files(), self.plan_file):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)


class PartWriter:
    """Collects the images of a part and writes them in shards; the last shard of a part bears a mark.

    Args: kept, part -> what a session before had done of the shard that comes next.
    """

    def __init__(
        self,
        shards: ShardFolder,
        finished: dict[int, tuple[int, bool]],
        size: int,
        attributes: dict[str, Any],
        kept: Mapping[int, Collected] | None = None,
    ) -> None:
        self.shards, self.size, self.attributes = shards, size, attributes
        self.next = {part: count for part, (count, _) in finished.items()}
        self.kept = dict(kept or {})
        self.discard()

    def discard(self) -> None:
        """Forget the part in progress."""
        self.part: int | None = None
        self.collected = Collected()
        self._written = time.monotonic()

    def add(self, part: int, name: str, outcome: Features | str) -> None:
        self._open(part)
        if self.collected.count == self.size:
            self._write(part, end=False)
        self.collected.count += 1
        if isinstance(outcome, str):
            self.collected.skipped[name] = outcome
        elif name in self.collected.features:
            self.collected.skipped[name] = SAME_NAME
        else:
            self.collected.features[name] = outcome
        if time.monotonic() - self._written > KEEP_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write what is collected of a part that goes on."""
        if self.part is not None and self.collected.count:
            self.shards.keep(self.part, self.next.get(self.part, 0), self.collected)
            self._written = time.monotonic()

    def end(self, part: int, error: UserError | None = None) -> None:
        self._open(part)
        if error is not None:
            self.collected.skipped[f"(part {part})"] = str(error)
        self._write(part, end=True)
        self.discard()

    def _open(self, part: int) -> None:
        if self.part != part:
            self.part, self.collected = part, self.kept.pop(part, Collected())

    def _write(self, part: int, *, end: bool) -> None:
        shard = self.next.get(part, 0)
        self.shards.write(part, shard, self.collected, end=end, attributes=self.attributes)
        self.next[part] = shard + 1
        self.collected, self._written = Collected(), time.monotonic()


def digest(content: Any) -> str:
    """Return 16 hexadecimal digits of JSON content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _compare(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with shards that would not fit the new ones."""
    for key, old, new in config_differences(json.dumps(before["config"]), json.dumps(now["config"])):
        raise UserError(f"{key}: found {new}, the shards in {folder} were made with {old}")
    for key, name in (("model", "weights"), ("masks", "masks")):
        if before.get(key) != now.get(key):
            found, made = now.get(key, "none"), before.get(key, "none")
            raise UserError(f"{name}: found hash {found}, the shards in {folder} were made with {made}")
    old, new = before["source"], now["source"]
    if old["kind"] != new["kind"] or (old["kind"] == "tar" and old != new):
        raise UserError(f"images: found other inputs than the shards in {folder} were made from")
    if old["kind"] in ("files", "hdf5") and not set(old["names"]) & set(new["names"]):
        raise UserError(f"images: found none of the {len(old['names'])} that the export in {folder} began with")
    if old["kind"] == "files":
        sizes = dict(zip(old["names"], old["sizes"], strict=True))
        for name, size in zip(new["names"], new["sizes"], strict=True):
            if size is not None and sizes.get(name, size) not in (size, None):
                raise UserError(
                    f"images: found '{name}' with {size} bytes, the export in {folder} began with one of "
                    f"{sizes[name]}: other images of the same names?"
                )
