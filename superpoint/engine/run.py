"""The run folder: what was asked for, where it ran, what happened.

config.yaml        the resolved configuration
environment.json   versions, machine, git revision, command line of the last session (and of those before it)
metrics.jsonl      one JSON object a line, the source of truth: {"step": 20, "event": "train", "loss": ...}
tensorboard/       the same numbers, and pictures, for TensorBoard
checkpoints/       last.ckpt, best.ckpt
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from superpoint.errors import UserError
from superpoint.files import write_atomically

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

DISTRIBUTIONS = ("superpoint", "torch", "lightning-fabric", "numpy", "opencv-python-headless")


class RunFolder:
    """A run folder, open for writing in the main process; in other processes (`main=False`) every write is a no-op.

    Use `RunFolder.open`, then `start`, then `log` and `log_images`, then `close` (it is a context manager).
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
        self._metrics: TextIO | None = None
        self._writer: SummaryWriter | None = None
        self._first_step = 0

    @classmethod
    def open(cls, path: str | Path, *, config: str, resume: bool = False, main: bool = True) -> RunFolder:
        """Make the folder, or go back to it with `resume`. Nothing is written yet: `start` does that.

        Args:
            path: the folder; its parents are made too.
            config: the resolved configuration as YAML.
            resume: whether the folder may hold something.
            main: whether this is the process that writes.

        Raises UserError if the folder cannot be written, or if it holds anything and `resume` is not set: a run is
        never overwritten.
        """
        run = cls(path, config=config, main=main)
        if not main:
            return run
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            occupied = any(run.path.iterdir())
            with tempfile.TemporaryFile(dir=run.path):
                pass
        except OSError as error:
            raise UserError(f"run={path}: cannot be used as run folder ({error.strerror or error})") from error
        if occupied and resume and not any((run.path / name).exists() for name in ("config.yaml", "environment.json")):
            raise UserError(f"run={path}: the folder holds other files and no run to resume; take another run=...")
        if occupied and not resume:
            raise UserError(f"run={path}: the folder is not empty; go on with it by --resume, or take another run=...")
        return run

    def start(self, step: int) -> None:
        """Begin a session at `step`, once it is sure that the run can go on: write config.yaml and environment.json.

        Lines of metrics.jsonl about later steps are dropped (all of them if `step` is 0), and so is a last line that
        a crash cut short. Safe against being killed: each file is replaced in one move.
        """
        self._first_step = step
        if not self.main:
            return
        self.checkpoints.mkdir(exist_ok=True)
        for leftover in (*self.path.glob("*.tmp"), *self.checkpoints.glob("*.tmp")):
            leftover.unlink()  # of a session that was killed while it wrote
        environment = describe_environment()
        if self.environment_file.exists():
            earlier = json.loads(self.environment_file.read_text(encoding="utf-8"))
            environment["earlier_sessions"] = [*earlier.pop("earlier_sessions", []), earlier]
        write_atomically(self.environment_file, lambda file: file.write(json.dumps(environment, indent=2).encode()))
        write_atomically(self.config_file, lambda file: file.write(self.config.encode()))
        if self.metrics_file.exists():
            kept = [json.dumps(entry) + "\n" for entry in self.metrics() if step > 0 and entry["step"] <= step]
            write_atomically(self.metrics_file, lambda file: file.write("".join(kept).encode()))

    def log(self, event: str, step: int, **values: Any) -> None:
        """Append one line to metrics.jsonl (flushed, so that a crash loses nothing) and its numbers to TensorBoard.

        Numbers that JSON cannot hold (nan, inf) become null.
        """
        if not self.main:
            return
        if self._metrics is None:
            self._metrics = open(self.metrics_file, "a", encoding="utf-8")  # noqa: SIM115 (closed in close)
        entry = {"step": step, "event": event, **{key: _plain(value) for key, value in values.items()}}
        self._metrics.write(json.dumps(entry, allow_nan=False) + "\n")
        self._metrics.flush()
        if event in ("train", "validate"):
            for key, value in _numbers(entry):
                if key not in ("step", "event"):
                    self._tensorboard().add_scalar(f"{event}/{key}", value, step)

    def log_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Show `images` (name -> uint8 RGB [H,W,3]) in TensorBoard."""
        if not self.main:
            return
        for name, image in images.items():
            self._tensorboard().add_image(name, image, step, dataformats="HWC")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, oldest first; a half-written one is left out."""
        if not self.metrics_file.exists():
            return []
        entries = (_parse(line) for line in self.metrics_file.read_bytes().splitlines())
        return [entry for entry in entries if entry is not None]

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tensorboard(self) -> SummaryWriter:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, so only where it is used

            self._writer = SummaryWriter(str(self.tensorboard), purge_step=self._first_step + 1)
        return self._writer


def _parse(line: bytes) -> dict[str, Any] | None:
    """One line of metrics.jsonl, None if it was cut short."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("step"), int) else None


def _plain(value: Any) -> Any:
    """`value` as JSON holds it: NumPy numbers unwrapped, non-finite numbers None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers in nested dicts as (path/to/key, value)."""
    found: list[tuple[str, float]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append((prefix + key, value))
    return found


def describe_environment() -> dict[str, Any]:
    """Versions, machine, code revision and command line, for environment.json."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "argv": sys.argv,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in DISTRIBUTIONS},
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "git": _git_revision(Path(__file__).parent),
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    """Model name of the processor; `platform.processor()` is empty on most Linux systems."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _git_revision(folder: Path) -> dict[str, Any] | None:
    """Revision of the checkout this code runs from and whether it has changes; None for an installed package.

    A package inside somebody else's repository (site-packages of a project's .venv) must not report that
    repository's revision: so this very file has to be tracked.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return {"revision": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
