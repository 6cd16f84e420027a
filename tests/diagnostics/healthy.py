"""The healthy case that the tests of the diagnostics break, and changes to its history and configuration."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from superpoint.config import DataConfig, MagicPointConfig, ModelConfig, TrainConfig, load_config
from superpoint.data.samples import SyntheticShapes
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.diagnosis import CHECKS
from superpoint.diagnostics.finding import Check, Finding, Status
from superpoint.losses import INITIAL_DETECTOR_LOSS
from superpoint.models import load_network
from superpoint.training.objectives import DetectorObjective

HISTORY = ("initial_loss", "gradient_jump", "learning_rate", "overfitting", "nonfinite")  # what these checks look at

Entry = dict[str, Any]


def healthy_case() -> Case:
    """The pretrained small network on its training data, with the history of a run as such runs go."""
    data = DataConfig(height=96, width=128, curriculum=0, workers=0)
    config = MagicPointConfig(data=data, model=ModelConfig("lite", 128), train=TrainConfig(steps=2000, batch_size=4))
    objective = DetectorObjective(config.loss.positive_weight)
    model = load_network("magicpoint-lite")
    return Case(config, SyntheticShapes(data, 0), model, objective, healthy_history(config))


def healthy_history(config: MagicPointConfig) -> list[dict[str, Any]]:
    """Metrics of a run of 2000 steps of 4 samples: onto the dustbin plateau at step 80, off it at 200, then down."""
    lines: list[dict[str, Any]] = [
        {"step": 0, "event": "initial_loss", "loss": 4.14, "expected": INITIAL_DETECTOR_LOSS}
    ]
    steps = config.train.steps or 2000
    for step in range(20, steps + 1, 20):
        fall = 1.2 * math.exp(-step / 1200) + (3.0 * math.exp(-step / 35))
        wobble = 0.06 * math.sin(2.1 * step) + 0.04 * math.sin(0.77 * step)  # batches of 4 differ
        loss = (0.35 + fall) * (1 + wobble)
        recall = 1.0 if step <= 40 else min(0.05 + 0.8 * (1 - math.exp(-(step - 40) / 500)), 0.8)
        rate = config.optimizer.lr * max(0.5 * (1 + math.cos(math.pi * step / steps)), 0.01)
        figures = {"loss": loss, "recall": recall, "dustbin": min(0.93, 0.04 + step / 100)}
        figures |= {"grad_norm": 1.5 + wobble, "lr": rate, "img_per_s": 85.0, "data_wait": 0.1, "elapsed": step / 21}
        lines.append({"step": step, "event": "train", **figures})
        if step % 500 == 0:
            lines.append(
                {"step": step, "event": "validate", "selected_by": "AP", "AP": 0.93 - 60 / step, "loss": loss * 1.05}
            )
    return [*lines, {"step": steps, "event": "finished", "elapsed": steps / 21}]


def run_checks(case: Case, names: set[str] | None = None, checks: Mapping[str, Check] = CHECKS) -> dict[str, Finding]:
    """The findings of some checks, by default of all; what they say is complete."""
    findings = {name: check(case) for name, check in checks.items() if names is None or name in names}
    for name, finding in findings.items():
        assert finding.check == name
        assert finding.evidence
        assert bool(finding.cause) == bool(finding.remedy) == (finding.status is not Status.PASS), finding
        json.dumps(finding.as_dict(), allow_nan=False)
    return findings


def fired(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.status.value for name, finding in findings.items() if finding.status is not Status.PASS}


def fired_of_history(case: Case) -> dict[str, str]:
    return fired(run_checks(case, set(HISTORY)))


def altered(case: Case, change: Callable[[Entry], Entry], **keys: Any) -> Case:
    return replace(case, history=[change(dict(entry)) for entry in case.history], **keys)


def scaled(factor: float, first: int, last: int = 10**9) -> Callable[[Entry], Entry]:
    """Multiplies the training loss of the lines first <= step <= last."""

    def change(entry: Entry) -> Entry:
        hit = entry["event"] == "train" and first <= entry["step"] <= last
        return entry | {"loss": entry["loss"] * factor} if hit else entry

    return change


def configured(case: Case, *overrides: str) -> MagicPointConfig:
    changed = load_config(MagicPointConfig, None, overrides)
    names = {override.split("=")[0].split(".")[0] for override in overrides}
    return replace(case.config, **{name: getattr(changed, name) for name in names})
