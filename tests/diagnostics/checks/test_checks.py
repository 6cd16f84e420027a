"""Every planted fault is found by its check, and by no other that it does not inevitably concern."""

from __future__ import annotations

import json
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from superpoint.config import DataConfig
from superpoint.data.samples import SyntheticShapes
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks import CHECKS
from superpoint.diagnostics.finding import Finding, Status
from superpoint.models import build_model

ORDER = (
    "input labels initial_loss dustbin input_sensitivity cell_pattern border logit_scale dead_relu gradient_jump "
    "learning_rate overfitting batchnorm nonfinite precision"
)
MINE = {
    "input", "labels", "dustbin", "input_sensitivity", "cell_pattern", "border", "logit_scale", "dead_relu",
    "batchnorm", "precision",
}  # fmt: skip


def run(case: Case, names: set[str] | None = None) -> dict[str, Finding]:
    findings = {name: check(case) for name, check in CHECKS.items() if names is None or name in names}
    for name, finding in findings.items():
        assert finding.check == name
        assert finding.evidence
        assert bool(finding.cause) == bool(finding.remedy) == (finding.status is not Status.PASS)
        json.dumps(finding.as_dict(), allow_nan=False)
    return findings


def fired(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.status.value for name, finding in findings.items() if finding.status is not Status.PASS}


def test_registry_has_the_15_checks_in_order() -> None:
    assert list(CHECKS) == ORDER.split()


def test_healthy_case_passes_everywhere(healthy: Case) -> None:
    before = {name: tensor.clone() for name, tensor in healthy.model.state_dict().items()}
    assert fired(run(healthy)) == {}
    assert not any(module.training for module in healthy.model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in healthy.model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in healthy.model.state_dict().items())


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        # An input 255 times as large drives the logits apart, and is not what the batch norms have seen.
        ("unnormalised_input", {"input", "logit_scale", "batchnorm"}),
        ("swapped_channels", {"input"}),
        ("reshaped_labels", {"labels"}),
        ("all_dustbin", {"dustbin"}),
        ("ignored_input", {"input_sensitivity"}),
        ("pooled_features", {"cell_pattern"}),
        ("points_on_border", {"border"}),
        ("scattered_scales", {"logit_scale"}),
        ("relu_after_head", {"dead_relu"}),
        ("dead_channels", {"dead_relu"}),
        ("wrong_statistics", {"batchnorm"}),
        ("large_offset", {"precision"}),
    ],
)
def test_a_fault_is_found_by_its_check(healthy: Case, faults: ModuleType, fault: str, expected: set[str]) -> None:
    assert fired(run(getattr(faults, fault)(healthy))) == dict.fromkeys(expected, "FAIL")


def test_every_fault_is_listed_under_its_check(faults: ModuleType) -> None:
    assert set(faults.FAULTS) == MINE


def test_an_untrained_network_is_no_fault(healthy: Case) -> None:
    model = build_model(healthy.config.model).eval()
    healthy.objective.initialise(model.detector)  # pyright: ignore[reportFunctionMemberAccess]
    assert fired(run(replace(healthy, model=model, history=[]), MINE)) == {}


@pytest.mark.parametrize("overfit", [1, 3])
def test_a_case_of_few_samples_can_be_judged(healthy: Case, overfit: int) -> None:
    data = DataConfig(height=96, width=128, overfit=overfit)
    case = replace(healthy, config=replace(healthy.config, data=data), dataset=SyntheticShapes(data, 0))
    assert fired(run(case, MINE)) == {}


def test_output_that_is_not_finite_is_not_judged(healthy: Case, faults: ModuleType) -> None:
    broken = faults.with_logits(healthy, lambda logits: logits / 0)
    found = run(broken, MINE)
    assert set(fired(found)) == MINE - {"input", "labels"}
    assert all(found[name].evidence.startswith("Not judged") for name in fired(found))
