"""Features and matches for COLMAP: its database, or the text files of its importers."""

from collections.abc import Mapping
from pathlib import Path

from superpoint import files
from superpoint.features import Features
from superpoint.matching import Matches
from superpoint.reconstruction.database import OFFSET, pair_id, write_database
from superpoint.reconstruction.pairs import Pair, check_pairs

__all__ = ["pair_id", "write_database", "write_text"]


def write_text(folder: str | Path, features: Mapping[str, Features], matches: Mapping[Pair, Matches]) -> None:
    """Write IMAGE.txt of each image, and matches.txt, for COLMAP's importers.

    Import with `colmap feature_importer --import_path FOLDER` and `colmap matches_importer --match_list_path
    FOLDER/matches.txt --match_type raw`. Scale is 1, orientation 0, descriptors are the 128 zeros that COLMAP expects.

    Raises: ValueError as `check_pairs` and `Features.in_frame`; UserError if the folder cannot be written.
    """
    check_pairs(matches, {name: len(found) for name, found in features.items()})
    folder = files.make_folder(folder)
    zeros = " 0" * 128
    for name, found in features.items():
        lines = [f"{len(found)} 128"]
        lines += [f"{x:.6f} {y:.6f} 1 0{zeros}" for x, y in (found.in_frame("stored").keypoints + OFFSET).tolist()]
        files.make_folder((folder / f"{name}.txt").parent)
        files.write_text(folder / f"{name}.txt", "\n".join([*lines, ""]))
    lines = []
    for (name0, name1), pairs in matches.items():
        lines += [f"{name0} {name1}", *(f"{first} {second}" for first, second in pairs.indices.tolist()), ""]
    files.write_text(folder / "matches.txt", "".join(f"{line}\n" for line in lines))
