"""How often the verdict of `match` is wrong, on photographs that belong together and on others.

    python benchmarks/verdicts.py [--images FOLDER] [--extractors superpoint-lite superpoint sift]
    python benchmarks/verdicts.py --images FOLDER --half first      # those that chose matching.verdict.MATCH
    python benchmarks/verdicts.py --scenes FOLDER ...               # all pairs of the photographs of each folder

Pairs that do not belong together: each of the photographs, drawn with a fixed seed, and the next. Pairs that do: each
photograph and two homographies of it, in other light: as strong as those of `evaluate pairs`, and stronger. Sizes,
matcher and thresholds are those of `superpoint match`. Without --images the photographs are those of scikit-image.

Prints the share of the pairs with the verdict "match": by the homography alone, by the kind of geometry with the
stronger evidence (`--model-kind auto`), and by that after a search for views (`--views auto`), as `match` does.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.config import HomographyConfig
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.config.inference import RESIZE, THRESHOLD
from superpoint.data.images import sample_photographs
from superpoint.data.pairs import HOMOGRAPHY, PHOTOMETRIC, generated_pair
from superpoint.data.photometric import augment_photometric
from superpoint.data.sources.source import open_source
from superpoint.evaluation.extractors import Extractor, make_extractor
from superpoint.inference.images import shrink
from superpoint.matching import ESTIMATORS, Copies, explain, match_views, verdict

Image = NDArray[np.uint8]

SEED = 20260
STRENGTHS = {
    "related": HOMOGRAPHY,
    "strongly changed": HomographyConfig(rotation=45.0, scale=[0.5, 2.0], perspective=0.2, translation=0.15),
}
NETWORK_KEYPOINTS, OTHER_KEYPOINTS = 8192, 2000  # more than a network finds; of SIFT, which finds more than any use


def photographs(folder: str | None, count: int, half: str) -> list[tuple[str, Image]]:
    """Return half of `count` photographs by name, as `match` sees them."""
    if folder is None:
        found = [
            (name, np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)) for name, rgb in sample_photographs()
        ]
        return [(name, shrink(image, RESIZE)) for name, image in found]
    source = open_source([folder])
    items = list(source.read(0, len(source)))
    order = np.random.default_rng(SEED).permutation(len(items))[:count]
    chosen = order[: count // 2] if half == "first" else order[count // 2 :]
    return [(items[place].name, shrink(items[place].load(), RESIZE)) for place in chosen]


def second_views(name: str, image: Image) -> Iterator[tuple[str, Image]]:
    """Yield views of a photograph, of its size and in other light, by the strength of their homography."""
    size = (image.shape[0], image.shape[1])
    for index, (kind, ranges) in enumerate(STRENGTHS.items(), 1):
        pair = generated_pair(image, name, index, kind="viewpoint", size=size, seed=SEED, homography=ranges)
        rng = np.random.default_rng([SEED, index, len(name)])
        yield kind, augment_photometric(pair.image_b, PHOTOMETRIC, rng)


def verdicts(first: Copies, second: Copies, estimator: str) -> list[bool]:
    """Return whether two images match by the homography, by any geometry, and by any geometry in any view."""
    found = []
    for kind, views in (("homography", "none"), ("auto", "none"), ("auto", "auto")):
        seen = match_views(first, second, views, estimator=estimator)
        given = (seen.features0, seen.features1, seen.matches)
        model = explain(*given, kind, estimator, homography=seen.homography).model
        found.append(verdict(seen.features1, model, estimator) == "match")
    return found


def show(extractor: str, kind: str, estimator: str, rows: list[list[bool]]) -> None:
    shares = zip(("homography", "any kind", "any kind and view"), np.sum(rows, axis=0), strict=True)
    told = ", ".join(f"{name} {count} ({count / len(rows):.1%})" for name, count in shares)
    print(f"{extractor:18} {kind:18} {estimator} {len(rows)} pairs, match: {told}", flush=True)


def measure(extract: Extractor, images: Sequence[tuple[str, Image]], estimators: Sequence[str]) -> None:
    seen = [Copies(image, extract) for _, image in images]
    for estimator in estimators:
        show(
            extract.name, "unrelated", estimator, [verdicts(seen[i - 1], seen[i], estimator) for i in range(len(seen))]
        )
        found: dict[str, list[list[bool]]] = {kind: [] for kind in STRENGTHS}
        for (name, image), each in zip(images, seen, strict=True):
            for kind, view in second_views(name, image):
                found[kind].append(verdicts(each, Copies(view, extract), estimator))
        for kind, rows in found.items():
            show(extract.name, kind, estimator, rows)


def measure_scene(extract: Extractor, folder: Path, estimators: Sequence[str]) -> None:
    source = open_source([str(folder)])
    seen = [Copies(shrink(item.load(), RESIZE), extract) for item in source.read(0, len(source))]
    for estimator in estimators:
        show(extract.name, folder.name, estimator, [verdicts(*pair, estimator) for pair in combinations(seen, 2)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="folder of photographs")
    parser.add_argument("--scenes", nargs="+", type=Path, help="folders of photographs of one thing each, instead")
    parser.add_argument("--photographs", type=int, default=480, help="to draw")
    parser.add_argument("--half", choices=("first", "second"), default="second")
    parser.add_argument("--extractors", nargs="+", default=["superpoint-lite", "superpoint", "sift"])
    parser.add_argument("--estimators", nargs="+", choices=ESTIMATORS, default=["gcransac"])
    options = parser.parse_args()
    images = [] if options.scenes else photographs(options.images, options.photographs, options.half)
    for name in options.extractors:
        count = OTHER_KEYPOINTS if name == "sift" else NETWORK_KEYPOINTS
        extract = make_extractor(name, EvaluatePairsConfig(max_keypoints=count, threshold=THRESHOLD))
        for folder in options.scenes or ():
            measure_scene(extract, folder, options.estimators)
        if images:
            measure(extract, images, options.estimators)


if __name__ == "__main__":
    main()
