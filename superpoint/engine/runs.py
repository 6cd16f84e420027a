"""What training runs there are below a folder, how they stand, and how to go on with them."""

import os
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from superpoint.engine.run import RunFolder, score
from superpoint.errors import UserError

ATTEMPT = "overfit.json"  # in a run of `overfit`, which begins anew
CHAINS = ("pipeline", "finetune", "adapt")  # commands whose folder holds runs and their settings, <command>.yaml


@dataclass(frozen=True)
class RunStatus:
    path: Path
    stage: str  # the command that trains it; empty in a run of an old version
    state: str  # running (a process holds its lock) | finished | interrupted (by a signal) | crashed
    step: int  # of the last line of its log
    metric: str | None  # that selects the best checkpoint; None before the first validation
    score: float | None  # its highest value
    bytes: int  # size of the folder
    modified: float  # when it last wrote something, in seconds since 1970
    resume: str | None  # the command that goes on with it; None if it is running or finished


def find_runs(folder: str | Path) -> list[RunStatus]:
    """Return the runs at or below `folder`, the latest first. Raises: UserError if there is no such folder."""
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: no such folder, expected one that holds runs")
    found = []
    for path, below, files in os.walk(folder):
        if "config.yaml" in files and ("environment.json" in files or "metrics.jsonl" in files):
            found.append(read_status(path))
            below.clear()  # a run holds no runs
    return sorted(found, key=lambda status: status.modified, reverse=True)


def read_status(folder: str | Path) -> RunStatus:
    """Return how the run in `folder` stands."""
    run = RunFolder(folder)
    history = run.history()
    ends = [entry["event"] for entry in history.entries if entry["event"] != "validate"]
    state = ends[-1] if ends and ends[-1] in ("finished", "interrupted") else "crashed"
    if run.lock.holder() is not None:
        state = "running"
    files = []
    for file in run.path.rglob("*"):
        with suppress(FileNotFoundError):  # a training renames its temporary files
            files += [file.stat()] if file.is_file() else []
    return RunStatus(
        path=run.path,
        stage=run.stage,
        state=state,
        step=history.step,
        metric=history.best.get("selected_by"),
        score=score(history.best),
        bytes=sum(file.st_size for file in files),
        modified=max(file.st_mtime for file in files),
        resume=resume_command(run) if state in ("interrupted", "crashed") else None,
    )


def resume_command(run: RunFolder) -> str | None:
    """Return the command that goes on with a run, or with the chain it is part of; None if there is none."""
    stage, folder, settings = run.stage, run.path, run.config_file
    for chain in CHAINS:
        above = run.path.parent / f"{chain}.yaml"
        if above.is_file():
            stage, folder, settings = chain, run.path.parent, above
    if not stage or (run.path / ATTEMPT).exists():
        return None
    return shlex.join(["superpoint", stage, "--config", str(settings), f"run={folder}", "--resume"])
