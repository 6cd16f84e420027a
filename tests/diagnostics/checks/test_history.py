"""Checks of the first loss, the validations and the end of a run, on histories written by hand."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.history import initial_loss, nonfinite, overfitting
from superpoint.diagnostics.finding import Status
from tests.diagnostics.healthy import Entry, altered, configured, fired_of_history, scaled


def test_without_a_history_nothing_is_wrong(healthy: Case) -> None:
    assert fired_of_history(replace(healthy, history=[])) == {}
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
        assert set(fired_of_history(case)) == {"initial_loss"}

    def test_not_finite(self, healthy: Case) -> None:
        case = altered(healthy, lambda entry: entry | ({"loss": None} if entry["event"] == "initial_loss" else {}))
        assert initial_loss(case).status is Status.FAIL
        assert "not finite" in initial_loss(case).evidence

    def test_a_fresh_network_is_judged_where_the_run_starts_elsewhere_or_logged_nothing(self, healthy: Case) -> None:
        def summed(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            output = healthy.objective(model, batch)
            return output | {"loss": output["loss"] * 16 * 12}

        config = configured(healthy, "weights=magicpoint-lite")
        started = altered(healthy, lambda e: e | ({"loss": 0.611} if e["step"] == 0 else {}), config=config)
        assert initial_loss(started).status is Status.PASS
        for case in (started, replace(healthy, history=[])):
            assert "cells of an image" in initial_loss(replace(case, objective=summed)).cause


class TestOverfitting:
    @staticmethod
    def with_losses(healthy: Case, losses: list[float]) -> Case:
        others = [entry for entry in healthy.history if entry["event"] != "validate"]
        steps = range(200, 2001, 1800 // (len(losses) - 1))
        lines: list[Entry] = []
        for step, value in zip(steps, losses, strict=False):
            lines.append({"step": step, "event": "validate", "selected_by": "AP", "AP": 0.5, "loss": value})
        return replace(healthy, history=sorted([*others, *lines], key=lambda entry: entry["step"]))

    def test_the_gap_opens_from_the_minimum_on(self, healthy: Case) -> None:
        case = self.with_losses(healthy, [1.5, 1.0, 0.8, 0.9, 1.1, 1.4, 1.5])
        assert fired_of_history(case) == {"overfitting": "FAIL"}
        assert "about step 800" in overfitting(case).remedy

    def test_a_small_gap_is_a_warning_and_noise_is_none(self, healthy: Case) -> None:
        assert fired_of_history(self.with_losses(healthy, [1.5, 1.0, 0.8, 0.9, 0.9])) == {"overfitting": "WARN"}
        assert fired_of_history(self.with_losses(healthy, [1.5, 1.0, 0.8, 0.82, 0.81])) == {}

    def test_both_rising_is_no_overfitting(self, healthy: Case) -> None:
        case = altered(self.with_losses(healthy, [1.5, 0.8, 1.1, 1.4, 1.5]), scaled(1.9, first=700))
        assert overfitting(case).status is Status.PASS
        assert "not overfitting" in overfitting(case).evidence

    def test_few_validations_and_runs_meant_to_overfit(self, healthy: Case) -> None:
        assert fired_of_history(self.with_losses(healthy, [0.8, 1.5])) == {}
        case = self.with_losses(healthy, [1.5, 0.8, 1.1, 1.4, 1.5])
        assert overfitting(replace(case, config=configured(healthy, "data.overfit=2"))).status is Status.PASS

    def test_photographs_against_shapes_are_measured_by_their_first_ratio(self, healthy: Case) -> None:
        mixed = configured(healthy, "data.kind=mixed", "data.labels=labels.h5", "data.images=photos")
        level = replace(self.with_losses(healthy, [4.5, 4.0, 3.5, 3.0, 2.5]), config=mixed)
        assert level.events("validate")[-1]["loss"] > 4 * level.events("train")[-1]["loss"]
        assert fired_of_history(level) == {}
        assert fired_of_history(replace(level, config=healthy.config)) == {"overfitting": "FAIL"}
        opened = self.with_losses(healthy, [1.5, 1.48, 1.46, 1.44, 1.42])
        assert fired_of_history(replace(opened, config=mixed)) == {"overfitting": "WARN"}

    def test_the_last_weights_are_not_advised(self, healthy: Case) -> None:
        finding = overfitting(self.with_losses(healthy, [4.5, 4.0, 3.5, 3.0, 2.5]))
        assert finding.status is Status.FAIL
        assert "about step" not in finding.remedy


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
        assert fired_of_history(case) == {"nonfinite": "WARN"}
        assert "step 120" in nonfinite(case).evidence

    def test_empty_lines_of_the_log(self, healthy: Case) -> None:
        case = altered(healthy, lambda e: e | ({"loss": None} if (e["step"], e["event"]) == (300, "train") else {}))
        assert fired_of_history(case) == {"nonfinite": "WARN"}

    def test_the_file_of_the_last_step_may_be_gone(self, healthy: Case, tmp_path: Path) -> None:
        end = {"step": 2000, "event": "nonfinite", "loss": None, "grad_norm": 3.0, "file": "nonfinite_step_2000.pt"}
        case = replace(healthy, history=[*healthy.history[:-1], end], folder=tmp_path)
        assert fired_of_history(case) == {"nonfinite": "FAIL"}
        assert "gradient norm 3" in nonfinite(case).evidence
