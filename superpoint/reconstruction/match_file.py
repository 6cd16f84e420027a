"""Matches files in hloc's layout: NAME0/NAME1/matches0 and matching_scores0, with "-" for every "/" in the names."""

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from superpoint.data.feature_file import DAMAGE as HDF5_DAMAGE
from superpoint.errors import UserError, one_line
from superpoint.files import write_atomically
from superpoint.matching import Matches
from superpoint.reconstruction.pairs import Pair, check_pairs

DAMAGE = (*HDF5_DAMAGE, IndexError, AttributeError)  # of a damaged file


def pair_key(name0: str, name1: str) -> str:
    """Return the group in a matches file."""
    return f"{name0.replace('/', '-')}/{name1.replace('/', '-')}"


def write_matches(
    path: str | Path,
    matches: Mapping[Pair, Matches],
    counts: Mapping[str, int],
    attributes: Mapping[str, Any] | None = None,
    keypoints: Mapping[str, NDArray[np.floating]] | None = None,
) -> None:
    """Write a matches file, atomically: the partner of each keypoint of the first image, or -1.

    Args:
        matches: by the names of both images.
        counts: keypoints by image name.
        attributes: of the file.
        keypoints: [N, 2] by image name, written as keypoints0 and keypoints1: for a file that is read by itself.

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
            if keypoints is not None:
                group["keypoints0"], group["keypoints1"] = keypoints[name0], keypoints[name1]
        file.attrs.update(attributes or {})
    write_atomically(Path(path), lambda target: target.write(content.getbuffer()))


def merge_matches(parts: Sequence[Path], out: Path, attributes: Mapping[str, Any]) -> None:
    """Copy the pairs of several files into one, whole or not at all. Raises: UserError for a damaged part."""

    def write(temporary: str) -> None:
        with h5py.File(temporary, "w") as file:
            for part in parts:
                try:
                    with h5py.File(part, "r") as source:
                        for name, partners in source.items():
                            group = file.require_group(name)
                            for partner in partners:
                                source.copy(partners[partner], group, partner)
                except DAMAGE as error:
                    raise UserError(f"{part}: damaged ({one_line(error)}); remove it, then --resume") from error
            file.attrs.update(attributes)

    write_atomically(out, lambda target: write(target.name))


def read_matches(path: str | Path, name0: str, name1: str) -> Matches:
    """Return the matches of a pair, best first. Raises: UserError if the file is damaged or lacks the pair."""
    with _opened(path) as file:
        return _read(file, path, name0, name1)


def read_all_matches(path: str | Path, names: Iterable[str]) -> dict[Pair, Matches]:
    """Return the matches of all pairs of a file, of images among `names`. Raises: UserError as `read_matches`."""
    by_key = {name.replace("/", "-"): name for name in names}
    found: dict[Pair, Matches] = {}
    with _opened(path) as file:
        for first, partners in file.items():
            for second in partners:
                for key in (first, second):
                    if key not in by_key:
                        raise UserError(f"{path}: found matches of '{key}', expected images with features")
                pair = by_key[first], by_key[second]
                found[pair] = _read(file, path, *pair)
    return found


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file, expected matches (.h5)")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DAMAGE as error:
        raise UserError(f"{path}: cannot be read as matches ({one_line(error)})") from error


def _read(file: h5py.File, path: str | Path, name0: str, name1: str) -> Matches:
    swapped = pair_key(name0, name1) not in file
    key = pair_key(name1, name0) if swapped else pair_key(name0, name1)
    if key not in file:
        raise UserError(f"{path}: holds no matches of '{name0}' and '{name1}'")
    try:
        partner = np.asarray(file[f"{key}/matches0"], np.int64)
        score = np.asarray(file[f"{key}/matching_scores0"], np.float32)
        kept = np.flatnonzero(partner >= 0)
        kept = kept[np.argsort(-score[kept], kind="stable")]
        indices = np.stack([kept, partner[kept]], axis=1)
        return Matches(indices[:, ::-1].copy() if swapped else indices, score[kept])
    except DAMAGE as error:
        raise UserError(f"{path}: matches of '{name0}' and '{name1}' cannot be read ({one_line(error)})") from error
