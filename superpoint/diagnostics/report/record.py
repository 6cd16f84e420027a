"""What a run folder says about its run. Whatever is missing or damaged becomes a sentence for the report, no error."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from superpoint.classification.config import ClassifierConfig
from superpoint.config import MagicPointConfig, SuperPointConfig, dump_config
from superpoint.engine.run import RunFolder
from superpoint.errors import UserError

T = TypeVar("T")
QUIET = 600.0  # seconds without a line in the log after which a run without an end counts as stopped
AP_KEY = re.compile(r"(?P<variant>[^/]+)/ap@(?P<eps>[\d.]+)(/pooled)?")  # keys of `evaluation.synthetic.flat_metrics`
STATES = ("finished", "interrupted", "nonfinite")  # events that end a session, see `engine.loop.train`


@dataclass(frozen=True)
class RunRecord:
    """Attributes:
    path: the run folder.
    label: how the report calls the run; unique within a report.
    history: the lines of metrics.jsonl, oldest first.
    damaged: how many of its lines are no JSON object with a step.
    config: the resolved configuration as {"train.batch_size": "4", ...}; empty if it cannot be read.
    environment: content of environment.json; empty if it cannot be read.
    findings: content of doctor/findings.json; empty if it cannot be read.
    evaluation: content of evaluation/synthetic.json; empty if it cannot be read.
    missing: by file, why its content is not here.
    written: when metrics.jsonl was last written, in seconds since 1970; None without one.
    """

    path: Path
    label: str
    history: list[dict[str, Any]]
    damaged: int = 0
    config: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)
    evaluation: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    written: float | None = None

    def events(self, name: str) -> list[dict[str, Any]]:
        return [entry for entry in self.history if entry.get("event") == name]

    def curve(self, event: str, key: str) -> tuple[list[float], list[float]]:
        """Steps and values of a key in the lines of an event; null (a number that was not finite) becomes NaN."""
        found = [(entry["step"], entry[key]) for entry in self.events(event) if key in entry]
        points = [(step, number(value)) for step, value in found if value is None or _is_number(value)]
        return [step for step, _ in points], [value for _, value in points]

    def last(self, event: str) -> dict[str, Any]:
        return next(reversed(self.events(event)), {})

    @property
    def selected_by(self) -> str:
        """The name of the metric that selects the best checkpoint; empty if there was no validation."""
        return str(self.last("validate").get("selected_by", ""))

    @property
    def step(self) -> int:
        return max((entry["step"] for entry in self.history), default=0)

    @property
    def elapsed(self) -> float:
        """Seconds of training, over all sessions."""
        return max((entry["elapsed"] for entry in self.history if _is_number(entry.get("elapsed"))), default=0.0)

    @property
    def best(self) -> tuple[float, int] | None:
        """The highest score of all validations and its step."""
        steps, values = self.curve("validate", self.selected_by)
        scored = [(value, step) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
        return max(scored, key=lambda pair: pair[0], default=None)  # pyright: ignore[reportReturnType]

    def state(self, now: float) -> tuple[str, str]:
        """One word about how the run stands at the time `now`, and a sentence that explains it."""
        end = next((entry for entry in reversed(self.history) if entry.get("event") != "validate"), None)
        event = end.get("event") if end else None
        if end is not None and event in STATES:
            if event == "finished":
                return "finished", "Its budget is spent."
            if event == "interrupted":
                return "interrupted", "A signal ended it early; --resume goes on from its last checkpoint."
            batch = f"; the batch is in {end['file']}" if end.get("file") else ""
            return "non-finite", f"Loss or gradient was not finite at step {end['step']:,}{batch}."
        if self.written is None or not self.history:
            return "begun", "Nothing has been logged yet."
        quiet = max(0.0, now - self.written)
        if quiet < QUIET:
            return "running", f"The last line was logged {duration(quiet)} before this page was made."
        return "stopped", f"No end was logged and nothing for {duration(quiet)}: probably killed; --resume goes on."


def read_record(path: str | Path, label: str = "") -> RunRecord:
    """Read a run folder. Raises: UserError if the folder is none."""
    run = RunFolder.existing(path)
    folder, metrics, history = run.path, run.metrics_file, run.history()
    missing: dict[str, str] = {}
    if not metrics.is_file():
        missing["metrics.jsonl"] = "metrics.jsonl is missing: nothing has been logged."
    return RunRecord(
        path=folder,
        label=label or folder.resolve().name,
        history=history.entries,
        damaged=len(history.damaged) + history.truncated,
        config=_read(folder, "config.yaml", _parse_config, missing, {}),
        environment=_read(folder, "environment.json", _parse_mapping, missing, {}),
        findings=_read(folder, "doctor/findings.json", _parse_findings, missing, {}),
        evaluation=_read(folder, "evaluation/synthetic.json", _parse_results, missing, []),
        missing=missing,
        written=metrics.stat().st_mtime if metrics.is_file() else None,
    )


def read_records(paths: Sequence[str | Path]) -> list[RunRecord]:
    """Records of several runs, called by their folders' names, or by their paths where names occur twice.

    Raises: UserError if there is none, if one is named twice or is no run folder.
    """
    if not paths:
        raise UserError("report: found no run folder, expected at least one")
    places = [Path(path).resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{path}: named twice, expected different run folders")
    names = [place.name for place in places]
    labels = [name if names.count(name) == 1 else str(place) for name, place in zip(names, places, strict=True)]
    return [read_record(path, label) for path, label in zip(paths, labels, strict=True)]


def default_config(config: Mapping[str, str] | None = None) -> dict[str, str]:
    """The default configuration of the stage that `config` is of, in the form of `RunRecord.config`."""
    stages = {kind.stage: kind for kind in (MagicPointConfig, SuperPointConfig, ClassifierConfig)}
    kind = stages.get((config or {}).get("stage", ""), MagicPointConfig)
    return _parse_config(dump_config(kind()))


def ap_keys(record: RunRecord) -> list[tuple[str, str, str]]:
    """(key, variant, eps) of the average precisions that the validations measured, in their order."""
    keys = dict.fromkeys(key for entry in record.events("validate") for key in entry)
    found = ((key, AP_KEY.fullmatch(key)) for key in keys)
    return [(key, match["variant"], match["eps"]) for key, match in found if match]


def number(value: Any) -> float:
    return float(value) if _is_number(value) else math.nan


def duration(seconds: float) -> str:
    """42 s, 4 min 1 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc):%Y-%m-%d %H:%M} UTC"


def date(text: Any) -> str:
    """A date as environment.json holds it, in the form of `moment`; what is no date stays as it is."""
    try:
        return moment(datetime.datetime.fromisoformat(str(text)).timestamp())
    except ValueError:
        return str(text)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _read(folder: Path, name: str, parse: Callable[[str], T], missing: dict[str, str], default: T) -> T:
    path = folder / name
    if not path.is_file():
        missing[name] = f"{name} is missing."
        return default
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # a JSONDecodeError and a UnicodeDecodeError are ValueErrors
        reason = " ".join(str(error).split())
        missing[name] = f"{name} cannot be read ({reason[:200]})."
        return default


def _parse_config(text: str) -> dict[str, str]:
    return flatten(_mapping(yaml.safe_load(text)))


def flatten(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as {"path.to.key": "value as YAML writes it"}."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def _parse_mapping(text: str) -> dict[str, Any]:
    return _mapping(json.loads(text))


def _parse_findings(text: str) -> dict[str, Any]:
    content = _mapping(json.loads(text))
    findings = content.get("findings")
    if not isinstance(findings, list) or not all(isinstance(one, dict) and "check" in one for one in findings):
        raise ValueError("found no list 'findings'")
    return content


def _parse_results(text: str) -> list[dict[str, Any]]:
    content = json.loads(text)
    keys = {"detector", "variant", "images", "pooled", "mean_ap", "primitives", "curves"}
    if (
        not isinstance(content, list)
        or not content
        or not all(isinstance(one, dict) and keys <= set(one) for one in content)
    ):
        raise ValueError("found no list of results")
    return content


def _mapping(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"found {type(content).__name__}, expected a mapping")
    return content
