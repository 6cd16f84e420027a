"""Which images are matched: lists of pairs."""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from superpoint.errors import UserError, did_you_mean, one_line
from superpoint.files import read_text, write_text
from superpoint.matching import Matches

Pair = tuple[str, str]


def check_pairs(matches: Mapping[Pair, Matches], counts: Mapping[str, int]) -> None:
    """Raise ValueError for a repeated pair (in either order), an image without a count, or an index beyond it."""
    seen: set[frozenset[str]] = set()
    for names, found in matches.items():
        if frozenset(names) in seen or names[0] == names[1]:
            raise ValueError(f"matches: found the pair '{names[0]}' and '{names[1]}' twice or with itself")
        seen.add(frozenset(names))
        for name, column in zip(names, found.indices.T, strict=True):
            if name not in counts:
                raise ValueError(f"matches: found the image '{name}', expected one with features")
            if column.size and not 0 <= column.min() <= column.max() < counts[name]:
                raise ValueError(f"matches: found an index beyond the {counts[name]} keypoints of '{name}'")


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> None:
    """Write a pair list. Raises: ValueError for a name with white space."""
    pairs = list(pairs)
    for name in itertools.chain(*pairs):
        if name.split() != [name]:
            raise ValueError(f"pairs: found the name '{name}', expected no white space in it")
    write_text(Path(path), "".join(f"{first} {second}\n" for first, second in pairs))


def read_pairs(path: str | Path) -> list[Pair]:
    """Return the pairs of a list without empty lines. Raises: UserError with the number of a bad line."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list of pairs ({one_line(error)})") from error
    pairs = [line.split() for line in lines]
    for number, names in enumerate(pairs, 1):
        if len(names) not in (0, 2):
            raise UserError(f"{path}: line {number}: found {len(names)} names, expected two")
    return [(names[0], names[1]) for names in pairs if names]


def known_pairs(path: str | Path, names: Collection[str]) -> list[Pair]:
    """Return the pairs of a list, each once.

    Raises: UserError for no pair, a name that is not in `names`, or one with itself.
    """
    pairs = read_pairs(path)
    if not pairs:
        raise UserError(f"{path}: found no pair, expected two names per line")
    for pair in pairs:
        for name in pair:
            if name not in names:
                hint = did_you_mean(name, names)
                raise UserError(f"{path}: found '{name}', expected one of the {len(names)} images with features{hint}")
        if pair[0] == pair[1]:
            raise UserError(f"{path}: found '{pair[0]}' with itself, expected two images")
    return distinct(pairs)


def sequential(names: Sequence[str], count: int) -> list[Pair]:
    """Pair each image with the next `count`."""
    return [(name, other) for index, name in enumerate(names) for other in names[index + 1 : index + 1 + count]]


def distinct(pairs: Iterable[Pair]) -> list[Pair]:
    """Return each pair once, whatever the order of its images."""
    found: dict[frozenset[str], Pair] = {}
    for pair in pairs:
        found.setdefault(frozenset(pair), pair)
    return list(found.values())
