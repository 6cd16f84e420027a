"""The checks, in the order in which doctor runs them: what goes in, what comes out, how the run went, arithmetic."""

from __future__ import annotations

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.descriptors import (
    descriptor_collapse,
    descriptor_matching,
    descriptor_pattern,
    descriptor_separation,
    descriptor_values,
)
from superpoint.diagnostics.checks.heatmap import border, cell_pattern
from superpoint.diagnostics.checks.history import gradient_jump, initial_loss, learning_rate, nonfinite, overfitting
from superpoint.diagnostics.checks.input import input_
from superpoint.diagnostics.checks.labels import labels
from superpoint.diagnostics.checks.network import batchnorm, dead_relu, precision
from superpoint.diagnostics.checks.output import dustbin, input_sensitivity_, logit_scale
from superpoint.diagnostics.checks.pairs import is_joint, pairs
from superpoint.diagnostics.finding import Check

# The key is Finding.check of what the function returns. The order is that of looking for a cause: wrong data explains
# nearly everything further down.
CHECKS: dict[str, Check] = {
    "input": input_,
    "labels": labels,
    "initial_loss": initial_loss,
    "dustbin": dustbin,
    "input_sensitivity": input_sensitivity_,
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

# Further ones of runs that train descriptors, after those of the detector.
DESCRIPTOR_CHECKS: dict[str, Check] = {
    "pairs": pairs,
    "descriptor_values": descriptor_values,
    "descriptor_collapse": descriptor_collapse,
    "descriptor_separation": descriptor_separation,
    "descriptor_matching": descriptor_matching,
    "descriptor_pattern": descriptor_pattern,
}


def checks_of(case: Case) -> dict[str, Check]:
    """The checks that concern a case."""
    return {**CHECKS, **DESCRIPTOR_CHECKS} if is_joint(case) else CHECKS
