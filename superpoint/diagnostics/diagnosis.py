"""All checks on one case, and their result in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks import checks_of
from superpoint.diagnostics.finding import Check, Finding, Status

# What causes the rest: a run thrown off course has dead layers and an output that ignores its input as well.
CAUSES = ("input", "labels", "pairs", "initial_loss", "gradient_jump", "learning_rate")


def diagnose(
    case: Case, announce: Callable[[str], None] | None = None, checks: Mapping[str, Check] | None = None
) -> list[Finding]:
    """The findings of all checks on `case`, in the order of `checks`: what is wrong with the data comes first.

    Args:
        case: a run, see `diagnostics.reading.read_case`, or parts put together by hand.
        announce: called with the name of each check before it runs.
        checks: default those that concern the case, see `checks_of`.
    """
    findings = []
    for name, check in (checks_of(case) if checks is None else checks).items():
        if announce is not None:
            announce(name)
        findings.append(check(case))
    return findings


def verdict(findings: Sequence[Finding]) -> str:
    """Such as "13 PASS, 1 WARN, 1 FAIL: first look at border": of the failed checks a cause before its symptoms."""
    counts = {status: sum(finding.status is status for finding in findings) for status in Status}
    text = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    for status in (Status.FAIL, Status.WARN):
        names = [finding.check for finding in findings if finding.status is status]
        if names:
            return f"{text}: first look at {min(names, key=lambda name: name not in CAUSES)}"
    return text
