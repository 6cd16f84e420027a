"""Whether retrieval finds the photographs that belong together: its recall against all pairs that COLMAP verifies.

    superpoint reconstruct facade --out models/facade        # each place by itself: all its pairs are matched
    superpoint reconstruct sculpture --out models/sculpture
    superpoint detect others --out others.h5                 # photographs of anything else, by the same network
    python benchmarks/retrieval.py models/facade models/sculpture --among others.h5

Prints the share of the verified pairs of which one photograph is among the K nearest of the other, as
`match-features --retrieve K` takes them.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from superpoint.data.feature_file import FeatureFile
from superpoint.matching.matchers import unit_length
from superpoint.reconstruction.mapping import load_pycolmap
from superpoint.reconstruction.retrieval import retrieve_pairs

NEAREST, INLIERS = (5, 10, 20), (15, 50)


def verified(model: Path) -> list[tuple[tuple[str, str], int]]:
    """Return the pairs of names in a folder of `reconstruct`, with their inliers."""
    colmap = load_pycolmap()
    with colmap.Database.open(model / "database.db") as database:
        names = {image.image_id: f"{model}/{image.name}" for image in database.read_all_images()}
        pairs, inliers = database.read_two_view_geometry_num_inliers()
    images = map(colmap.pair_id_to_image_pair, pairs)
    return [((names[a], names[b]), count) for (a, b), count in zip(images, inliers, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--among", type=Path)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        sources = [(f"{model}/", stack.enter_context(FeatureFile(model / "features.h5"))) for model in arguments.models]
        if arguments.among:
            sources.append(("others/", stack.enter_context(FeatureFile(arguments.among))))
        where = {prefix + name: (file, name) for prefix, file in sources for name in file.names()}
        truth = [each for model in arguments.models for each in verified(model)]
        for nearest in NEAREST:
            found = retrieve_pairs(
                list(where),
                lambda name: unit_length(np.asarray(where[name][0].read(where[name][1]).descriptors)),
                nearest,
            )
            either = {frozenset(pair) for pair in found}
            for least in INLIERS:
                hits = [frozenset(pair) in either for pair, inliers in truth if inliers >= least]
                share = sum(hits) / max(len(hits), 1)
                print(f"K={nearest}: {share:.2f} of the {len(hits)} pairs with {least} or more inliers", flush=True)


if __name__ == "__main__":
    main()
