"""Matches files in hloc's layout: NAME0/NAME1/matches0 and matching_scores0, with "-" for every "/" in the names."""

import io
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from superpoint.errors import UserError, one_line
from superpoint.files import write_atomically
from superpoint.matching import Matches
from superpoint.reconstruction.pairs import Pair, check_pairs


def pair_key(name0: str, name1: str) -> str:
    """Return the group in a matches file."""
    return f"{name0.replace('/', '-')}/{name1.replace('/', '-')}"


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
