"""Features, matches and pair lists in the files of hloc (cvg/Hierarchical-Localization).

    features   the feature files of `superpoint.data.feature_file`
    matches    NAME0/NAME1/matches0 and matching_scores0, with "-" for every "/" in the names
    pairs      text, one line per pair: two names with a space between

Pixel centres are at integers; hloc's importer adds COLMAP's 0.5 itself.
"""

import io
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from superpoint.data.feature_file import FeatureFile
from superpoint.errors import UserError, one_line
from superpoint.features import Features
from superpoint.files import read_text, write_atomically, write_text
from superpoint.matching import Matches

Pair = tuple[str, str]


def read_features(path: str | Path) -> dict[str, Features]:
    """Read all features of a file, ours or hloc's. Raises: UserError if it is damaged or incomplete."""
    found: dict[str, Features] = {}
    with FeatureFile(path) as file:
        for name, stored in file:
            if stored.image_size == (0, 0):
                raise UserError(f"{path}: '{name}' has no image_size, expected (width, height)")
            if stored.descriptors is None:
                found[name] = stored
                continue
            lengths = np.linalg.norm(stored.descriptors, axis=1, keepdims=True)  # off 1 a little: stored as float16
            found[name] = replace(stored, descriptors=stored.descriptors / np.maximum(lengths, 1e-12))
    return found


def pair_key(name0: str, name1: str) -> str:
    """Return the group in a matches file."""
    return f"{name0.replace('/', '-')}/{name1.replace('/', '-')}"


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


def write_matches(path: str | Path, matches: Mapping[Pair, Matches], counts: Mapping[str, int]) -> None:
    """Write a matches file, atomically: the partner of each keypoint of the first image, or -1.

    Args:
        matches: by the names of both images.
        counts: keypoints by image name.

    Raises: ValueError as `check_pairs`; UserError if the place cannot be written.
    """
    check_pairs(matches, counts)
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for (name0, name1), found in matches.items():
            partner = np.full(counts[name0], -1, np.int32)
            score = np.zeros(counts[name0], np.float16)
            partner[found.indices[:, 0]] = found.indices[:, 1]
            score[found.indices[:, 0]] = found.scores
            group = file.create_group(pair_key(name0, name1))
            group["matches0"], group["matching_scores0"] = partner, score
    write_atomically(Path(path), lambda target: target.write(content.getbuffer()))


def read_matches(path: str | Path, name0: str, name1: str) -> Matches:
    """Return the matches of a pair, best first. Raises: UserError if the file is damaged or lacks the pair."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected matches (.h5)")
    try:
        with h5py.File(path, "r") as file:
            swapped = pair_key(name0, name1) not in file
            key = pair_key(name1, name0) if swapped else pair_key(name0, name1)
            if key not in file:
                raise UserError(f"{path}: holds no matches of '{name0}' and '{name1}'")
            partner = np.asarray(file[f"{key}/matches0"], np.int64)
            score = np.asarray(file[f"{key}/matching_scores0"], np.float32)
        kept = np.flatnonzero(partner >= 0)
        kept = kept[np.argsort(-score[kept], kind="stable")]
        indices = np.stack([kept, partner[kept]], axis=1)
        return Matches(indices[:, ::-1].copy() if swapped else indices, score[kept])
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{path}: matches of '{name0}' and '{name1}' cannot be read ({one_line(error)})") from error


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
