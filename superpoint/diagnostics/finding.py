"""The result of a check."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
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
        check: its key in `diagnostics.diagnosis`.
        evidence: what was measured, with units, and what was expected.
        cause, remedy: likely cause and what to do; empty if the check passed.
    """

    check: str
    status: Status
    evidence: str
    cause: str = ""
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"status": self.status.value}


Check = Callable[[Any], Finding]  # of a `case.Case`, or of one that another room derives from it
