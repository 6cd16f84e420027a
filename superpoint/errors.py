"""The one exception that a user can cause, and the checks of single values that raise it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from numbers import Integral


class UserError(Exception):
    """Input that cannot be used: a file, a key, a value, a device.

    The message is one line that names the file or key, what was found and what was expected. The command line prints
    it without a traceback and ends with exit code 2.
    """


def check_one_of(key: str, value: str, options: Sequence[str]) -> None:
    if value not in options:
        hint = difflib.get_close_matches(str(value), options, 1)
        suffix = f"; did you mean '{hint[0]}'?" if hint else ""
        raise UserError(f"{key}: found '{value}', expected one of {', '.join(options)}{suffix}")


def check_number(
    key: str, value: float | None, low: float, high: float = math.inf, *, above: bool = False, whole: bool = False
) -> None:
    """Demand a finite number in [low, high], or in (low, high] if `above`, and an integer if `whole`.

    None passes: it stands for "not set".
    """
    if value is None:
        return
    try:
        right = math.isfinite(value) and low <= value <= high and not (above and value == low)
        right = right and not (whole and not isinstance(value, Integral))
    except (TypeError, OverflowError):
        right = False
    if not right:
        shown = f"'{value}'" if isinstance(value, str) else value
        least = f"a {'whole' if whole else 'finite'} number {'>' if above else '>='} {low:g}"
        raise UserError(f"{key}: found {shown}, expected {least}{f' and <= {high:g}' if high < math.inf else ''}")


def check_range(key: str, value: Sequence[float], low: float, high: float) -> None:
    if len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise UserError(f"{key}: found {list(value)}, expected [low, high] with {low:g} <= low <= high <= {high:g}")
