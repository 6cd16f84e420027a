"""What a check says."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any


class Status(str, Enum):
    """PASS: nothing wrong was seen. WARN: worth a look. FAIL: this explains a failing run."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: its name, such as "border"; a key of the registry in `diagnostics.diagnosis`.
        status: the verdict.
        evidence: what was measured, with units, and what was expected; one or two sentences.
        cause: the likely cause, empty if the check passed.
        remedy: what to do, empty if the check passed.
        details: numbers behind the evidence, for --json; JSON values only.
    """

    check: str
    status: Status
    evidence: str
    cause: str = ""
    remedy: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"status": self.status.value}


Check = Callable[[Any], Finding]  # of a `case.Case`, or of one that another room derives from it
