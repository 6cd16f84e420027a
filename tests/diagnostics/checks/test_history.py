"""Checks of the history, on real short runs that go wrong on purpose and on histories written by hand."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import superpoint.stages.magicpoint as stage
from superpoint.config import MagicPointConfig, load_config
from superpoint.data.samples import SyntheticShapes
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks import CHECKS
from superpoint.diagnostics.checks.history import gradient_jump, initial_loss, learning_rate, nonfinite, overfitting
from superpoint.diagnostics.checks.trend import windows
from superpoint.diagnostics.finding import Status
from superpoint.diagnostics.reading import read_case
from superpoint.engine import make_fabric
from superpoint.errors import UserError
from superpoint.stages.magicpoint import fit_detector
from superpoint.stages.validation import DetectorValidation

HISTORY = ("initial_loss", "gradient_jump", "learning_rate", "overfitting", "nonfinite")
TINY = [
    "data.height=48", "data.width=64", "data.workers=0", "data.curriculum=0", "model.encoder=lite",
    "model.head_channels=16", "train.minutes=null", "train.batch_size=4", "train.precision=fp32", "train.ema=0",
    "train.probe_every=0", "validation.images=18",
]  # fmt: skip

History = list[dict[str, Any]]


def run(folder: Path, *overrides: str, dataset: type[SyntheticShapes] = SyntheticShapes, validate: Any = None) -> Case:
    """The case of a real run; one that ends with NaN is a case too."""
    config = load_config(MagicPointConfig, None, [*TINY, f"run={folder}", *overrides])
    with contextlib.suppress(UserError):
        fit_detector(
            config,
            make_fabric(config.train),
            dataset(config.data, config.seed),
            validate or (lambda model: {"monitor": 0.0}),
        )
    return read_case(folder)


def fired(case: Case) -> dict[str, Status]:
    """Of the five checks those that do not pass; what they say is complete."""
    found = [CHECKS[name](case) for name in HISTORY]
    for finding in found:
        assert finding.check in HISTORY
        assert finding.evidence
        advised = (bool(finding.cause), bool(finding.remedy))
        assert advised == ((False, False) if finding.status is Status.PASS else (True, True)), finding
    return {finding.check: finding.status for finding in found if finding.status is not Status.PASS}


class TestRealRuns:
    def test_a_run_that_learns_passes(self, tmp_path: Path) -> None:
        case = run(tmp_path / "run", "train.steps=80", "optimizer.lr=6e-3", "schedule.name=constant")
        assert fired(case) == {}
        assert windows(case)[-1].loss < 0.7 * windows(case)[0].loss

    def test_momentum_and_a_large_rate_jump(self, tmp_path: Path) -> None:
        """The rate is to blame for the jump and for the kernels that have grown: both checks are right."""
        momentum = ("optimizer.name=sgd", "optimizer.momentum=0.9", "optimizer.lr=30", "train.clip_norm=0")
        case = run(tmp_path / "run", "train.steps=40", *momentum)
        assert fired(case) == {"gradient_jump": Status.FAIL, "learning_rate": Status.FAIL}
        finding = gradient_jump(case)
        assert 0 < finding.details["step"] <= 40
        assert f"step {finding.details['step']}" in finding.evidence
        assert "momentum 0.9" in finding.cause
        assert "clip_norm=1" in finding.remedy

    def test_clipping_does_not_hide_the_jump(self, tmp_path: Path) -> None:
        case = run(tmp_path / "run", "train.steps=20", "optimizer.name=sgd", "optimizer.lr=10", "train.clip_norm=1")
        assert fired(case)["gradient_jump"] is Status.FAIL
        assert "train.clip_norm=1 bounds the gradient" in gradient_jump(case).cause

    def test_adam_at_a_tenth_hides_in_the_loss_but_not_in_the_kernels(self, tmp_path: Path) -> None:
        case = run(tmp_path / "run", "train.steps=60", "optimizer.lr=0.1")
        assert fired(case)["learning_rate"] is Status.FAIL
        finding = learning_rate(case)
        assert "too high" in finding.cause
        assert finding.details["kernel_growth"] > 3

    def test_a_tiny_rate_is_too_low(self, tmp_path: Path) -> None:
        case = run(tmp_path / "run", "train.steps=120", "optimizer.lr=1e-7", "schedule.name=constant")
        assert fired(case) == {"learning_rate": Status.FAIL}
        assert "too low" in learning_rate(case).cause

    def test_a_blow_up_to_nan_is_told_from_the_file_it_left(self, tmp_path: Path) -> None:
        """Before the first line of the log and the first checkpoint: what remains is nonfinite_step_<n>.pt."""
        case = run(tmp_path / "run", "train.steps=60", "optimizer.name=sgd", "optimizer.lr=1e9", "train.clip_norm=0")
        assert not case.events("train")
        assert fired(case) == dict.fromkeys(("gradient_jump", "learning_rate", "nonfinite"), Status.FAIL)
        step = case.events("nonfinite")[0]["step"]
        assert f"step {step}" in nonfinite(case).evidence
        assert "rate" in nonfinite(case).cause
        assert gradient_jump(case).details["step"] == step

    def test_a_head_that_is_not_initialised(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def careless(config: Any, seed: int = 0) -> nn.Module:
            model = build(config, seed)
            nn.init.normal_(model.detector.logits.weight, std=1.0, generator=torch.Generator().manual_seed(0))
            return model

        build = stage.build_model
        monkeypatch.setattr(stage, "build_model", careless)
        case = run(tmp_path / "run", "train.steps=4")
        assert fired(case)["initial_loss"] is Status.FAIL
        assert "last layer not initialised" in initial_loss(case).cause

    def test_two_images_are_learnt_by_heart(self, tmp_path: Path) -> None:
        config = load_config(MagicPointConfig, None, [*TINY, "train.steps=1"])
        overrides = ("train.steps=120", "train.validate_every=40", "optimizer.lr=6e-3", "train.batch_size=2")
        case = run(tmp_path / "run", *overrides, dataset=TwoImages, validate=DetectorValidation(config))
        assert fired(case) == {"overfitting": Status.FAIL}
        finding = overfitting(case)
        assert f"from step {finding.details['step']} on" in finding.evidence
        assert finding.details["last"] > 4 * finding.details["train_now"]


class TwoImages(SyntheticShapes):
    """Labelled like the rest, but only two, and never augmented."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return super().__getitem__((1, 3)[index % 2])


def altered(healthy: Case, change: Callable[[dict[str, Any]], dict[str, Any]], **keys: Any) -> Case:
    return replace(healthy, history=[change(dict(entry)) for entry in healthy.history], **keys)


def scaled(factor: float, first: int, last: int = 10**9) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Multiplies the training loss of the lines first <= step <= last."""

    def change(entry: dict[str, Any]) -> dict[str, Any]:
        hit = entry["event"] == "train" and first <= entry["step"] <= last
        return entry | {"loss": entry["loss"] * factor} if hit else entry

    return change


def configured(case: Case, *overrides: str) -> MagicPointConfig:
    """The configuration of `case` with some keys changed."""
    base = case.config
    changed = load_config(MagicPointConfig, None, overrides)
    names = {override.split(".")[0] for override in overrides}
    return replace(base, **{name: getattr(changed, name) for name in names})


class TestAllChecks:
    def test_healthy(self, healthy: Case) -> None:
        assert fired(healthy) == {}

    @pytest.mark.parametrize("name", HISTORY)
    def test_of_all_checks_the_right_one_fires(self, healthy: Case, name: str) -> None:
        """What was planted in the history; data and network are as they were."""

        def change(entry: dict[str, Any]) -> dict[str, Any]:
            step, event = entry["step"], entry["event"]
            if name == "initial_loss" and event == "initial_loss":
                return entry | {"loss": 801.5}
            if name == "gradient_jump" and event == "train" and step >= 1400:
                return entry | {"loss": 3 * entry["loss"]}
            if name == "learning_rate" and event == "train":
                return entry | {"loss": 4.1}
            if name == "overfitting" and event == "validate":
                return entry | {"loss": 0.5 + step / 1000}
            if name == "nonfinite" and event == "finished":
                return {"step": step, "event": "nonfinite", "loss": None, "grad_norm": None, "lr": 1e-3, "file": "x.pt"}
            return entry

        found = [check(altered(healthy, change)) for check in CHECKS.values()]
        assert {finding.check: finding.status for finding in found if finding.status is not Status.PASS} == {
            name: Status.FAIL
        }

    def test_without_a_history_nothing_is_wrong(self, healthy: Case) -> None:
        assert fired(replace(healthy, history=[])) == {}
        assert "fresh network" in initial_loss(replace(healthy, history=[])).evidence


class TestInitialLoss:
    @pytest.mark.parametrize(
        ("loss", "cause"),
        [
            (math.log(65) * 16 * 12, "cells of an image"),
            (math.log(65) * 16 * 12 * 4, "cells of the batch"),
            (math.log(65) * 4, "images of the batch"),
            (65 * math.log(2), "sigmoids"),
            (64 / 65, "Logarithm left out"),
            (-1 / 65, "Logarithm left out"),
            (math.log2(65), "base 2"),
            (5.2, "last layer"),
            (3.0, "already knows"),
        ],
    )
    def test_the_value_tells_the_mistake(self, healthy: Case, loss: float, cause: str) -> None:
        case = altered(healthy, lambda entry: entry | ({"loss": loss} if entry["event"] == "initial_loss" else {}))
        assert initial_loss(case).status is Status.FAIL
        assert cause in initial_loss(case).cause
        assert set(fired(case)) == {"initial_loss"}

    def test_not_finite(self, healthy: Case) -> None:
        case = altered(healthy, lambda entry: entry | ({"loss": None} if entry["event"] == "initial_loss" else {}))
        assert initial_loss(case).status is Status.FAIL
        assert initial_loss(case).details["loss"] is None

    def test_it_is_computed_if_it_was_not_logged(self, healthy: Case) -> None:
        def summed(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            output = healthy.objective(model, batch)
            return output | {"loss": output["loss"] * 16 * 12}

        assert "cells of an image" in initial_loss(replace(healthy, history=[], objective=summed)).cause

    def test_focal_loss_has_another_value(self, healthy: Case) -> None:
        config = configured(healthy, "loss.focal_gamma=20")
        assert initial_loss(replace(healthy, config=config)).status is Status.FAIL
        expected = math.log(65) * (64 / 65) ** 20
        case = altered(healthy, lambda entry: entry | ({"loss": expected} if entry["step"] == 0 else {}), config=config)
        assert initial_loss(case).status is Status.PASS


class TestGradientJump:
    def test_a_spike_that_is_over_is_a_warning(self, healthy: Case) -> None:
        finding = gradient_jump(altered(healthy, scaled(4.0, first=1000, last=1020)))
        assert finding.status is Status.WARN
        assert "981-1000" in finding.evidence

    def test_single_noisy_batches_are_no_jump(self, healthy: Case) -> None:
        """With a line a step the loss of a batch of 4 differs by a factor of 3 from the next."""
        lines = [{"step": 0, "event": "initial_loss", "loss": 4.17}]
        for step in range(1, 400):
            loss = 0.5 * (3.0 if step % 7 == 0 else 1.0)
            lines.append({"step": step, "event": "train", "loss": loss, "grad_norm": 1.0, "positive_recall": 0.7})
        assert gradient_jump(replace(healthy, history=lines)).status is Status.PASS

    def test_the_step_is_that_of_the_peak_going_up_or_down(self, healthy: Case) -> None:
        def spike(jump: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
            extra = {"loss_max": 9.0, "loss_jump": jump, "loss_jump_step": 1007}
            return lambda entry: entry | (extra if (entry["step"], entry["event"]) == (1020, "train") else {})

        for jump, step in ((8.5, 1007), (-8.5, 1006)):
            finding = gradient_jump(altered(healthy, spike(jump)))
            assert finding.details["step"] == step
            assert finding.status is Status.WARN  # the run finds its points at the end

    def test_a_drop_onto_the_dustbin(self, healthy: Case) -> None:
        def change(entry: dict[str, Any]) -> dict[str, Any]:
            if entry["event"] != "train":
                return entry
            fallen = entry["step"] > 600
            return entry | {"loss": 0.9 if fallen else 3.2, "positive_recall": 0.0 if fallen else 0.9}

        finding = gradient_jump(altered(healthy, change))
        assert finding.status is Status.FAIL
        assert finding.details["step"] == 601
        assert "no points" in finding.cause

    def test_a_gradient_peak_without_harm_is_a_warning(self, healthy: Case) -> None:
        extra = {"grad_norm_max": 60.0}
        case = altered(healthy, lambda e: e | (extra if (e["step"], e["event"]) == (800, "train") else {}))
        assert fired(case) == {"gradient_jump": Status.WARN}


class TestLearningRate:
    CURVE = (
        [10.0 ** (-6 + 7 * i / 59) for i in range(60)],
        [4.1 if i < 26 else 1.8 if i < 40 else 3.0 for i in range(60)],
    )  # lowest from 1.2e-3, unstable from 5.6e-2

    def test_the_range_test_alone_warns(self, healthy: Case) -> None:
        fresh = replace(healthy, history=[], rate_curve=self.CURVE)
        assert learning_rate(fresh).status is Status.PASS
        for rate, word in (("1", "too high"), ("1e-7", "too low")):
            finding = learning_rate(replace(fresh, config=configured(healthy, f"optimizer.lr={rate}")))
            assert finding.status is Status.WARN
            assert word in finding.cause

    def test_a_rate_beyond_the_range_that_learns_passes(self, healthy: Case) -> None:
        case = replace(healthy, rate_curve=self.CURVE, config=configured(healthy, "optimizer.lr=1"))
        assert learning_rate(case).status is Status.PASS

    def test_a_rate_beyond_the_range_that_finds_nothing_fails(self, healthy: Case) -> None:
        case = altered(
            healthy,
            lambda entry: entry | ({"positive_recall": 0.01, "lr": 1.0} if entry["event"] == "train" else {}),
            rate_curve=self.CURVE,
            config=configured(healthy, "optimizer.lr=1"),
        )
        assert learning_rate(case).status is Status.FAIL

    def test_no_rate_helps(self, healthy: Case) -> None:
        finding = learning_rate(replace(healthy, rate_curve=(self.CURVE[0], [4.1] * 60)))
        assert finding.status is Status.FAIL
        assert "Not the rate" in finding.cause

    def test_softmax_taken_twice_is_not_blamed_on_the_rate(self, healthy: Case) -> None:
        case = altered(
            healthy,
            lambda entry: entry | ({"loss": 3.4} if entry["event"] == "train" else {}),
            rate_curve=self.CURVE,
        )
        assert "softmax is taken twice" in learning_rate(case).cause

    def test_a_young_run_is_not_failed(self, healthy: Case) -> None:
        lines = [entry | {"loss": 4.1} for entry in healthy.history if entry["step"] <= 160]
        assert learning_rate(replace(healthy, history=lines)).status is Status.WARN

    def test_a_warm_up_is_not_judged(self, healthy: Case) -> None:
        lines = [entry | {"loss": 4.1, "lr": 1e-6} for entry in healthy.history if entry["step"] <= 400]
        assert learning_rate(replace(healthy, history=lines)).status is Status.PASS

    def test_a_plateau_without_decay(self, healthy: Case) -> None:
        def change(entry: dict[str, Any]) -> dict[str, Any]:
            flat = entry["event"] == "train" and entry["step"] > 900
            return entry | ({"loss": 0.6} if flat else {}) | {"lr": 1e-3}

        case = altered(healthy, change, config=configured(healthy, "schedule.name=constant"))
        assert fired(case) == {"learning_rate": Status.WARN}
        assert "cosine" in learning_rate(case).remedy
        assert fired(altered(healthy, change)) == {}  # where a decay is to come


class TestOverfitting:
    @staticmethod
    def with_losses(healthy: Case, losses: list[float | None], key: str = "loss") -> Case:
        others = [entry for entry in healthy.history if entry["event"] != "validate"]
        steps = range(200, 2001, 1800 // (len(losses) - 1))
        lines: History = []
        for step, value in zip(steps, losses, strict=False):
            lines.append({"step": step, "event": "validate", "monitor": 0.5} | {key: value})
        return replace(healthy, history=sorted([*others, *lines], key=lambda entry: entry["step"]))

    def test_the_gap_opens_from_the_minimum_on(self, healthy: Case) -> None:
        case = self.with_losses(healthy, [1.5, 1.0, 0.8, 0.9, 1.1, 1.4, 1.5])
        assert fired(case) == {"overfitting": Status.FAIL}
        assert overfitting(case).details["step"] == 800

    def test_a_small_gap_is_a_warning_and_noise_is_none(self, healthy: Case) -> None:
        assert fired(self.with_losses(healthy, [1.5, 1.0, 0.8, 0.9, 0.9])) == {"overfitting": Status.WARN}
        assert fired(self.with_losses(healthy, [1.5, 1.0, 0.8, 0.82, 0.81])) == {}

    def test_both_rising_is_no_overfitting(self, healthy: Case) -> None:
        case = altered(self.with_losses(healthy, [1.5, 0.8, 1.1, 1.4, 1.5]), scaled(1.9, first=700))
        assert overfitting(case).status is Status.PASS
        assert "not overfitting" in overfitting(case).evidence

    def test_few_validations_and_runs_meant_to_overfit(self, healthy: Case) -> None:
        assert "needs at least 3" in overfitting(self.with_losses(healthy, [0.8, 1.5])).evidence
        case = self.with_losses(healthy, [1.5, 0.8, 1.1, 1.4, 1.5])
        finding = overfitting(replace(case, config=configured(healthy, "data.overfit=2")))
        assert finding.status is Status.PASS
        assert "data.overfit=2" in finding.evidence

    def test_old_runs_are_judged_by_precision(self, healthy: Case) -> None:
        case = self.with_losses(healthy, [0.8, 0.9, 0.7, 0.6], key="monitor")
        assert fired(case) == {"overfitting": Status.WARN}
        assert "precision" in overfitting(case).evidence


class TestNonfinite:
    def test_weights(self, healthy: Case) -> None:
        model = copy.deepcopy(healthy.model)
        with torch.no_grad():
            model.get_parameter("detector.logits.bias")[3] = math.nan
        finding = nonfinite(replace(healthy, model=model))
        assert finding.status is Status.FAIL
        assert "detector.logits.bias" in finding.evidence

    def test_an_earlier_session_is_a_warning(self, healthy: Case, tmp_path: Path) -> None:
        (tmp_path / "nonfinite_step_120.pt").write_bytes(b"")
        case = replace(healthy, folder=tmp_path)
        assert fired(case) == {"nonfinite": Status.WARN}
        assert "step 120" in nonfinite(case).evidence

    def test_empty_lines_of_the_log(self, healthy: Case) -> None:
        case = altered(healthy, lambda e: e | ({"loss": None} if (e["step"], e["event"]) == (300, "train") else {}))
        assert fired(case) == {"nonfinite": Status.WARN}

    def test_the_file_of_the_last_step_may_be_gone(self, healthy: Case, tmp_path: Path) -> None:
        end = {"step": 2000, "event": "nonfinite", "loss": None, "grad_norm": 3.0, "file": "nonfinite_step_2000.pt"}
        case = replace(healthy, history=[*healthy.history[:-1], end], folder=tmp_path)
        assert fired(case) == {"nonfinite": Status.FAIL}
        assert "gradient norm 3" in nonfinite(case).evidence
