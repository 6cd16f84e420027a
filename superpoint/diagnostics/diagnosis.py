"""All checks, and their result in words."""

from collections.abc import Mapping, Sequence

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.descriptors import (
    descriptor_collapse,
    descriptor_matching,
    descriptor_pattern,
    descriptor_values,
    is_joint,
    pairs,
)
from superpoint.diagnostics.checks.history import initial_loss, nonfinite, overfitting
from superpoint.diagnostics.checks.input import input_
from superpoint.diagnostics.checks.jumps import gradient_jump
from superpoint.diagnostics.checks.labels import labels
from superpoint.diagnostics.checks.network import batchnorm, dead_relu, precision
from superpoint.diagnostics.checks.output import border, cell_pattern, dustbin, input_sensitivity, logit_scale
from superpoint.diagnostics.checks.rate import learning_rate
from superpoint.diagnostics.finding import Check, Finding, Status
from superpoint.engine.display import watch

# By `Finding.check`, in the order of looking for a cause: input, output, history, arithmetic.
CHECKS: dict[str, Check] = {
    "input": input_,
    "labels": labels,
    "initial_loss": initial_loss,
    "dustbin": dustbin,
    "input_sensitivity": input_sensitivity,
    "cell_pattern": cell_pattern,
    "border": border,
    "logit_scale": logit_scale,
    "dead_relu": dead_relu,
    "gradient_jump": gradient_jump,
    "learning_rate": learning_rate,
    "overfitting": overfitting,
    "batchnorm": batchnorm,
    "nonfinite": nonfinite,
    "precision": precision,
}

# Further checks of joint runs.
DESCRIPTOR_CHECKS: dict[str, Check] = {
    "pairs": pairs,
    "descriptor_values": descriptor_values,
    "descriptor_collapse": descriptor_collapse,
    "descriptor_matching": descriptor_matching,
    "descriptor_pattern": descriptor_pattern,
}

# Causes of the rest: a run thrown off course has dead layers as well.
CAUSES = ("input", "labels", "pairs", "initial_loss", "gradient_jump", "learning_rate")


def checks_of(case: Case) -> dict[str, Check]:
    """Return the checks that concern a detector's or a joint case."""
    return {**CHECKS, **DESCRIPTOR_CHECKS} if is_joint(case) else CHECKS


def diagnose(case: Case, checks: Mapping[str, Check] | None = None) -> list[Finding]:
    """Return the findings of all checks (default `checks_of(case)`) on `case`, in their order: the data first."""
    return [check(case) for check in watch((checks_of(case) if checks is None else checks).values(), "checks")]


def verdict(findings: Sequence[Finding]) -> str:
    """Return a line such as "13 PASS, 1 FAIL: first look at border"; causes go before symptoms."""
    counts = {status: sum(finding.status is status for finding in findings) for status in Status}
    text = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    for status in (Status.FAIL, Status.WARN):
        names = [finding.check for finding in findings if finding.status is status]
        if names:
            return f"{text}: first look at {min(names, key=lambda name: name not in CAUSES)}"
    return text
