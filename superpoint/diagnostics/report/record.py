"""What a run folder says. Whatever is missing or damaged becomes a sentence for the report."""

import datetime
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from superpoint.config import SuperPointConfig
from superpoint.engine.run import History, RunFolder, flatten, score
from superpoint.engine.runs import read_status
from superpoint.files import read_text

T = TypeVar("T")
SYNTHETIC, PAIRS = "evaluation/synthetic.json", "evaluation/generated_pairs.json"
AP_KEY = re.compile(r"(?P<variant>[^/]+)/ap@(?P<eps>[\d.]+)(/pooled)?")  # keys of `evaluation.synthetic.flat_metrics`
RESULT_KEYS = {"detector", "variant", "images", "pooled", "mean_ap", "primitives", "curves"}


@dataclass(frozen=True)
class RunRecord:
    """What a run folder says; what cannot be read is empty.

    Attributes:
        label: name of the folder.
        state, resume: see `engine.runs.RunStatus`.
        config: the resolved configuration as {"train.batch_size": "4", ...}.
        missing: by file, why its content is not here.
    """

    path: Path
    label: str
    history: History = field(default_factory=History)
    state: str = "finished"
    resume: str | None = None
    config: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)
    evaluation: list[dict[str, Any]] = field(default_factory=list)
    pairs: dict[str, dict[str, float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def curve(self, event: str, *path: str) -> tuple[list[float], list[float]]:
        """Return steps and values of a key of an event; null (not finite) becomes NaN.

        `path` leads through nested mappings. Lines without the key are left out.
        """
        found = [(entry["step"], lookup(entry, *path)) for entry in self.history.events(event)]
        points = [(step, number(value)) for step, value in found if value is None or is_number(value)]
        return [step for step, _ in points], [value for _, value in points]

    def last(self, event: str) -> dict[str, Any]:
        return next(reversed(self.history.events(event)), {})

    @property
    def joint(self) -> bool:
        return self.config.get("stage") == SuperPointConfig.stage

    @property
    def elapsed(self) -> float:
        """Seconds of training in all sessions."""
        times = [entry["elapsed"] for entry in self.history.entries if is_number(entry.get("elapsed"))]
        return max(times, default=0.0)

    @property
    def best(self) -> tuple[str, float, int] | None:
        """Name, value and step of the score of the best checkpoint."""
        entry = self.history.best
        return (entry["selected_by"], score(entry) or 0.0, entry["step"]) if entry else None

    @property
    def ap_keys(self) -> list[tuple[str, str, str]]:
        """(key, variant, eps) of the average precisions of the validations."""
        keys = dict.fromkeys(key for entry in self.history.events("validate") for key in entry)
        found = ((key, AP_KEY.fullmatch(key)) for key in keys)
        return [(key, match["variant"], match["eps"]) for key, match in found if match]


def read_record(path: str | Path) -> RunRecord:
    """Read a run folder. Raises: UserError if the folder is none."""
    run = RunFolder.existing(path)
    folder, status = run.path, read_status(run.path)
    missing: dict[str, str] = {}
    if not run.metrics_file.is_file():
        missing["metrics.jsonl"] = "metrics.jsonl is missing: nothing has been logged."

    def read(name: str, parse: Callable[[str], T], default: T) -> T:
        if not (folder / name).is_file():
            missing[name] = f"{name} is missing."
            return default
        try:
            return parse(read_text(folder / name))
        except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: of JSON and of UTF-8 too
            missing[name] = f"{name} cannot be read ({' '.join(str(error).split())[:200]})."
            return default

    return RunRecord(
        path=folder,
        label=folder.resolve().name,
        history=run.history(),
        state=status.state,
        resume=status.resume,
        config=read("config.yaml", parse_config, {}),
        environment=read("environment.json", lambda text: _mapping(json.loads(text)), {}),
        findings=read("doctor/findings.json", _parse_findings, {}),
        evaluation=read(SYNTHETIC, _parse_results, []),
        pairs=read(PAIRS, lambda text: {key: _mapping(one) for key, one in _mapping(json.loads(text)).items()}, {}),
        missing=missing,
    )


def lookup(tree: Any, *path: str) -> Any:
    """Return the value at a path of nested mappings, "" without one."""
    for key in path:
        tree = tree.get(key, "") if isinstance(tree, Mapping) else ""
    return tree


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(value: Any) -> float:
    return float(value) if is_number(value) else math.nan


def date(text: Any) -> str:
    """Return an ISO date as "2026-11-22 14:42 UTC", anything else unchanged."""
    try:
        moment = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    return f"{moment.astimezone(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC"


def parse_config(text: str) -> dict[str, str]:
    """Return a YAML text as {"path.to.key": "value"}. Raises: ValueError, yaml.YAMLError."""
    flat = flatten(_mapping(yaml.safe_load(text)), ".")
    return {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in flat.items()}


def _parse_findings(text: str) -> dict[str, Any]:
    content = _mapping(json.loads(text))
    findings = content.get("findings")
    if not isinstance(findings, list) or not all(isinstance(one, dict) and "check" in one for one in findings):
        raise ValueError("found no list 'findings'")
    return {**content, "findings": [{**one, "number": number} for number, one in enumerate(findings, 1)]}


def _parse_results(text: str) -> list[dict[str, Any]]:
    content = json.loads(text)
    if not isinstance(content, list) or not content or not all(set(_mapping(one)) >= RESULT_KEYS for one in content):
        raise ValueError("found no list of results")
    return content


def _mapping(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"found {type(content).__name__}, expected a mapping")
    return content
