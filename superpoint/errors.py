"""The one exception that a user can cause, and the checks of single values that raise it."""

import difflib
import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path


class UserError(Exception):
    """Input that cannot be used; the command line prints the message without a traceback and ends with exit code 2.

    The message is one line that names the file or key, what was found and what was expected.
    """


def did_you_mean(value: object, options: Iterable[str]) -> str:
    """Return the end of a message, "; did you mean 'vgg'?", or nothing where no option is near."""
    near = difflib.get_close_matches(str(value), list(options), 1)
    return f"; did you mean '{near[0]}'?" if near else ""


def near_file(path: str | Path) -> str:
    """Return `did_you_mean` of the names beside a file that is not there."""
    path = Path(path)
    try:
        return did_you_mean(path, [str(path.parent / each.name) for each in path.parent.iterdir()])
    except OSError:
        return ""


def one_line(error: object) -> str:
    """Return the first 200 characters of an error's message on one line, or its type."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def check_one_of(key: str, value: str, options: Sequence[str]) -> None:
    if value not in options:
        hint = did_you_mean(value, options)
        raise UserError(f"{key}: found '{value}', expected one of {', '.join(options)}{hint}")


def check_number(
    key: str, value: float | None, low: float, high: float = math.inf, *, above: bool = False, whole: bool = False
) -> None:
    """Demand None or a finite number in [low, high], in (low, high] if `above`, an integer if `whole`."""
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


def check_numbers(settings: object, prefix: str = "", **limits: tuple[float, ...]) -> None:
    """Check the settings named by `limits`, each (low,) or (low, high); `prefix` is their section: "data."."""
    for key, bounds in limits.items():
        check_number(prefix + key, getattr(settings, key), *bounds)


def check_range(key: str, value: Sequence[float], low: float, high: float) -> None:
    if len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise UserError(f"{key}: found {list(value)}, expected [low, high] with {low:g} <= low <= high <= {high:g}")
