"""Features, matches and pair lists in the files of hloc (cvg/Hierarchical-Localization).

    features   the feature files of `superpoint.data.feature_file`
    matches    NAME0/NAME1/matches0 and matching_scores0, with "-" for every "/" in the names
    pairs      text, one line per pair: two names with a space between

Pixel centres are at integers; hloc's importer adds COLMAP's 0.5 itself.
"""

from dataclasses import replace
from pathlib import Path

from superpoint.data.feature_file import FeatureFile
from superpoint.data.feature_writer import save_features as write_features
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.matching.matchers import unit_length
from superpoint.reconstruction.match_file import pair_key, read_matches, write_matches
from superpoint.reconstruction.pairs import Pair, check_pairs, read_pairs, write_pairs

__all__ = [
    "Pair", "check_pairs", "pair_key", "read_features", "read_matches", "read_pairs", "write_features",
    "write_matches", "write_pairs",
]  # fmt: skip


def read_features(path: str | Path) -> dict[str, Features]:
    """Read all features of a file, ours or hloc's. Raises: UserError if it is damaged or incomplete."""
    found: dict[str, Features] = {}
    with FeatureFile(path) as file:
        for name, stored in file:
            if stored.image_size == (0, 0):
                raise UserError(f"{path}: '{name}' has no image_size, expected (width, height)")
            if stored.descriptors is not None:  # stored as float16: off 1 a little
                stored = replace(stored, descriptors=unit_length(stored.descriptors))
            found[name] = stored
    return found
