"""The run folder: what was asked for, where it ran, what happened.

config.yaml          the resolved configuration, with its stage
environment.json     versions, machine, git revision, command line of the last session (and of those before it)
metrics.jsonl        one JSON object per line, the source of truth: {"step": 20, "event": "train", "loss": ...}
tensorboard/         the same numbers, and pictures, for TensorBoard
checkpoints/         last.ckpt, best.ckpt
weights.safetensors  the best weights, once the run is complete
run.lock             the process that trains into the folder, while it does
"""

from __future__ import annotations

import io
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from superpoint.engine.environment import describe_environment
from superpoint.errors import UserError
from superpoint.files import append, make_folder, read_text, write_json, write_text
from superpoint.lock import FolderLock
from superpoint.pretrained import result_run

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class History:
    """What metrics.jsonl holds; lines that cannot be read are left out."""

    entries: list[dict[str, Any]] = field(default_factory=list)  # oldest first
    damaged: list[int] = field(default_factory=list)  # numbers (from 1) of unreadable lines before the last
    truncated: bool = False  # whether the last line was cut short, as by a crash

    @property
    def step(self) -> int:
        """Return the step of the last line; 0 if there is none."""
        return int(self.entries[-1]["step"]) if self.entries else 0

    @property
    def note(self) -> str:
        """Return one line about damage, empty if there is none."""
        if not self.damaged:
            return ""
        lines = ", ".join(str(number) for number in self.damaged[:5]) + (", ..." if len(self.damaged) > 5 else "")
        return f"metrics.jsonl: {len(self.damaged)} damaged lines left out (line {lines})"

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of one event, such as "train" or "validate"."""
        return [entry for entry in self.entries if entry["event"] == name]

    @property
    def best(self) -> dict[str, Any]:
        """Return the first validation with the highest score; empty if there is none."""
        scored = [entry for entry in self.events("validate") if score(entry) is not None]
        return max(scored, key=lambda entry: score(entry) or -math.inf, default={})

    @property
    def nonfinite(self) -> bool:
        """Return whether the run ended because its loss or gradient was not finite."""
        return bool(self.entries) and self.entries[-1]["event"] == "nonfinite"


def score(entry: Mapping[str, Any]) -> float | None:
    """Return the metric of a validation that selects the best checkpoint; None if it has none or was not finite."""
    value = entry.get(entry.get("selected_by", ""))
    return float(value) if isinstance(value, (int, float)) else None


class RunFolder:
    """A run folder: `existing` reads one; `open`, `start`, `log` and `close` write one (a context manager).

    With main=False, in processes other than the first, writing does nothing.
    """

    def __init__(self, path: str | Path, *, config: str = "", main: bool = True) -> None:
        self.path = Path(path)
        self.config = config
        self.main = main
        self.config_file = self.path / "config.yaml"
        self.environment_file = self.path / "environment.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.weights = self.path / WEIGHTS
        self.lock = FolderLock(self.path)
        self._events: Path | None = None
        self._first_step = 0

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """Return the run at `path`, or the one that the finetune or pipeline at `path` ends with.

        Raises: UserError if there is none.
        """
        run = cls(result_run(path))
        if not run.path.exists():
            raise UserError(f"{run.path}: no such run folder")
        if not run.config_file.is_file():
            raise UserError(
                f"{run.path}: not a run folder: found no config.yaml in it, expected what a training stage writes"
            )
        return run

    @property
    def stage(self) -> str:
        """Return the command of the run, from the first line of config.yaml; empty if it says none."""
        try:
            key, _, value = read_text(self.config_file).partition("\n")[0].partition(":")
        except (OSError, UnicodeDecodeError):
            return ""
        return value.strip() if key == "stage" else ""

    @classmethod
    def open(cls, path: str | Path, *, config: str, resume: bool = False, main: bool = True) -> RunFolder:
        """Make the folder, or go back to it with `resume`, and lock it.

        Raises: UserError if it cannot be written, another process trains into it, or it is not empty without `resume`.
        """
        run = cls(path, config=config, main=main)
        if main:
            make_folder(run.path)
            run.lock.claim("trains into this folder")
            try:
                run._check_content(resume)
            except UserError:
                run.close()
                raise
        return run

    def _check_content(self, resume: bool) -> None:
        """Raise UserError if the folder holds what must not be written over."""
        files = (file for file in self.path.rglob("*") if not file.is_dir() and file.suffix != ".tmp")
        if all(file == self.lock.path for file in files):
            return  # empty, or of a session that was killed before it had written anything
        if not resume:
            raise UserError(
                f"run={self.path}: the folder is not empty; go on with it by --resume, or take another run=..."
            )
        if not (self.config_file.exists() or self.environment_file.exists()):
            raise UserError(f"run={self.path}: the folder holds other files and no run to resume; take another run=...")

    def start(self, step: int) -> None:
        """Begin a session at `step`: write config.yaml and environment.json, drop lines of the log about later steps.

        With `step` 0 all lines are dropped. Each file is replaced in one move.
        """
        self._first_step = step
        if not self.main:
            return
        self.checkpoints.mkdir(exist_ok=True)
        for leftover in (*self.path.glob("*.tmp"), *self.checkpoints.glob("*.tmp")):
            leftover.unlink()  # of a session that was killed while it wrote
        environment = describe_environment()
        if self.environment_file.exists():
            earlier = json.loads(read_text(self.environment_file))
            environment["earlier_sessions"] = [*earlier.pop("earlier_sessions", []), earlier]
        write_json(self.environment_file, environment)
        write_text(self.config_file, self.config)
        if self.metrics_file.exists():
            kept = [json.dumps(entry) + "\n" for entry in self.history().entries if step > 0 and entry["step"] <= step]
            write_text(self.metrics_file, "".join(kept))

    def log(self, event: str, step: int, **values: Any) -> None:
        """Append one line to metrics.jsonl (nan and inf become null) and its numbers to TensorBoard."""
        if not self.main:
            return
        entry = {"step": step, "event": event, **{key: json_values(value) for key, value in values.items()}}
        append(self.metrics_file, json.dumps(entry, allow_nan=False).encode() + b"\n")
        if event in ("train", "validate"):
            from torch.utils.tensorboard.summary import scalar  # slow to import, so only where it is used

            for key, value in flatten(entry, "/").items():
                if isinstance(value, (int, float)) and not isinstance(value, bool) and key != "step":
                    self._show(step, summary=scalar(f"{event}/{key}", value))

    def log_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Show `images` (name -> uint8 RGB [H,W,3]) in TensorBoard."""
        if not self.main:
            return
        from torch.utils.tensorboard.summary import image  # slow to import, so only where it is used

        for name, pixels in images.items():
            self._show(step, summary=image(name, pixels, dataformats="HWC"))

    def history(self) -> History:
        """Return what the run has logged; empty if that is nothing yet."""
        if not self.metrics_file.is_file():
            return History()
        parsed = [_parse(line) for line in self.metrics_file.read_bytes().splitlines()]
        damaged = [number for number, entry in enumerate(parsed, 1) if entry is None]
        truncated = bool(parsed) and parsed[-1] is None
        entries = [entry for entry in parsed if entry is not None]
        return History(entries, damaged[:-1] if truncated else damaged, truncated)

    def close(self) -> None:
        self.lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _show(self, step: int, **content: Any) -> None:
        """Append an event to TensorBoard's file; TensorBoard's own writer meets a full disk in a thread."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.summary.writer.record_writer import RecordWriter

        if self._events is None:
            self._events = make_folder(self.tensorboard) / f"events.out.tfevents.{time.time():.0f}.{os.getpid()}"
            for first in ({"file_version": "brain.Event:2"}, {"session_log": SessionLog(status=SessionLog.START)}):
                self._show(self._first_step + 1, **first)  # which drops later steps of the sessions before
        record = io.BytesIO()
        RecordWriter(record).write(Event(wall_time=time.time(), step=step, **content).SerializeToString())
        append(self._events, record.getvalue())


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return one line of metrics.jsonl, None if it is not an event with a step."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(entry, dict) and isinstance(entry.get("step"), int) and isinstance(entry.get("event"), str)
    return entry if whole else None


def json_values(value: Any) -> Any:
    """Return `value` as JSON holds it: NumPy numbers unwrapped, non-finite numbers None."""
    if isinstance(value, Mapping):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_values(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flatten(tree: Mapping[str, Any], separator: str, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested dicts by their path, such as "train.steps"."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        found |= flatten(value, separator, path + separator) if isinstance(value, Mapping) else {path: value}
    return found
