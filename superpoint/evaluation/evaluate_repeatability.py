"""Stage evaluate repeatability: detectors on generated pairs of photographs, learnt and classical ones side by side.

    superpoint evaluate repeatability --extractors magicpoint,runs/adapt,harris,shi,random --images photos

240x320, the 300 strongest points that both views can see, 3 px and 1 px; see `evaluation.repeatability`. A detector is
a run folder, weights or their name; `adapted:` before it applies homographic adaptation to every view, which says how
repeatable its labels are; fast, harris, shi, sift, orb; or random, what chance gives.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from superpoint.backends import make_network
from superpoint.config import AdaptationConfig, DecodeConfig, HomographyConfig, PhotometricConfig
from superpoint.data.images import sample_photographs
from superpoint.data.pairs import KINDS, Pair, generated_pair
from superpoint.data.sources.source import open_source
from superpoint.errors import UserError
from superpoint.evaluation.classical import CLASSICAL, classical_detector
from superpoint.evaluation.pairs import bootstrap_interval
from superpoint.evaluation.repeatability import RepeatabilityProtocol, repeatability
from superpoint.evaluation.synthetic import markdown_table
from superpoint.files import make_folder, write_atomically
from superpoint.labelling import HomographicAdaptation
from superpoint.models import load_network

Image = NDArray[np.uint8]
Detect = Callable[[Image, str], NDArray[np.floating]]  # image and its name -> points [N, 2], strongest first

ADAPTED, RANDOM = "adapted:", "random"
SIZE = (240, 320)
PROTOCOLS = (RepeatabilityProtocol(eps=3.0), RepeatabilityProtocol(eps=1.0))
THRESHOLD = 1e-3  # so low that 300 points are found nearly everywhere; the strongest are compared
HOMOGRAPHY = HomographyConfig(rotation=30.0, scale=[0.7, 1.4], perspective=0.12, translation=0.05)
PHOTOMETRIC = PhotometricConfig(strength=0.7, probability=0.7)


@dataclass(frozen=True)
class Detector:
    name: str
    detect: Detect


def make_detector(method: str, homographies: int = 100) -> Detector:
    """A detector by name, see the head of this file. Raises: UserError if it is none."""
    if method == RANDOM:
        return Detector(method, _random_points)
    if method in CLASSICAL:
        classical = classical_detector(method, nms_radius=4, subpixel=True, border=4)
        return Detector(method, lambda image, name: classical(image)[0])
    views = homographies if method.startswith(ADAPTED) else 1
    network = make_network(load_network(method.removeprefix(ADAPTED)))
    decode = DecodeConfig(threshold=THRESHOLD)
    adaptation = HomographicAdaptation(network, AdaptationConfig(homographies=views), decode, network.device)
    return Detector(method, lambda image, name: adaptation(image, name).keypoints)


def _random_points(image: Image, name: str) -> NDArray[np.floating]:
    rng = np.random.Generator(np.random.SFC64(zlib.crc32(image.tobytes())))
    return rng.uniform((4, 4), (image.shape[1] - 5, image.shape[0] - 5), (1000, 2))


def photographs(folder: str | Path | None, limit: int) -> Iterator[tuple[str, Image]]:
    """(name, gray image) of a folder or, without one, of the photographs that scikit-image ships; at most `limit`.

    A folder is gone through in even steps, so that a limit takes from all of it. Unreadable images are left out.
    """
    if folder is None:
        for name, rgb in sample_photographs()[: limit or None]:
            yield name, np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        return
    source = open_source([str(folder)])
    items = list(source.read(0, max(len(source), 1)))
    count = min(limit or len(items), len(items))
    for place in range(count):
        item = items[place * len(items) // count]
        try:
            yield item.name, item.load()
        except UserError:
            continue


def evaluate_repeatability(
    methods: Sequence[str],
    *,
    images: str | Path | None = None,
    limit: int = 100,
    pairs: int = 2,
    homographies: int = 100,
    seed: int = 0,
    out: str | Path = "runs/repeatability",
) -> list[dict[str, Any]]:
    """Repeatability of each method, one row each; also written to `out` as repeatability.json and .md.

    Args:
        methods: see the head of this file.
        images: folder of photographs; None = those of scikit-image.
        limit: most photographs; 0 = all.
        pairs: pairs of each kind (viewpoint, photometric) a photograph.
        homographies: views of homographic adaptation.
        seed: of the pairs.
        out: folder.

    Raises: UserError for an unknown method or no readable photograph.
    """
    detectors = [make_detector(method, homographies) for method in methods]
    folder = make_folder(out)
    drawn = list(_pairs(photographs(images, limit), pairs, seed))
    if not drawn:
        raise UserError(f"{images}: found no readable photograph")
    results = [measure(detector, drawn) for detector in detectors]
    count = len({pair.name for _, pair in drawn})
    table = result_table(results, f"Repeatability on {len(drawn)} generated pairs of {count} photographs, 240x320")
    Console(width=max(Console().width, 130)).print(table)
    text = f"{table.title}\n\n{markdown_table(table)}"
    write_atomically(folder / "repeatability.md", lambda file: file.write(text.encode()))
    content = json.dumps({"seed": seed, "homographies": homographies, "results": results}, indent=1)
    write_atomically(folder / "repeatability.json", lambda file: file.write(content.encode()))
    return results


def _pairs(images: Iterable[tuple[str, Image]], count: int, seed: int) -> Iterator[tuple[str, Pair]]:
    for name, image in images:
        for kind in KINDS:
            for index in range(count):
                yield (
                    kind,
                    generated_pair(
                        image,
                        name,
                        index,
                        kind=kind,
                        size=SIZE,
                        seed=seed,
                        homography=HOMOGRAPHY,
                        photometric=PHOTOMETRIC,
                    ),
                )


def measure(detector: Detector, pairs: Sequence[tuple[str, Pair]]) -> dict[str, Any]:
    """Mean repeatability and localisation error over the pairs of each kind, with a 95 % interval of the first.

    A pair of which neither view has a point counts as 0.
    """
    shares: dict[tuple[str, float], list[float]] = {}
    errors: dict[tuple[str, float], list[float]] = {}
    counts: list[int] = []
    with torch.inference_mode():
        for index, (kind, pair) in enumerate(track(pairs, detector.name, transient=True)):
            points_a = detector.detect(pair.image_a, f"{pair.name}/a{index}")
            points_b = detector.detect(pair.image_b, f"{pair.name}/b{index}")
            for protocol in PROTOCOLS:
                found = repeatability(points_a, points_b, pair.h_a_b, SIZE, SIZE, protocol)
                # Without any point in either view nothing is repeated: left out, the pair would flatter the detector.
                shares.setdefault((kind, protocol.eps), []).append(found.share if any(found.count) else 0.0)
                errors.setdefault((kind, protocol.eps), []).append(found.error)
                counts += found.count
    result: dict[str, Any] = {"method": detector.name, "points": float(np.mean(counts))}
    for kind in KINDS:
        rows = {}
        for protocol in PROTOCOLS:
            key = (kind, protocol.eps)
            rows[f"{protocol.eps:g}"] = {
                "protocol": protocol.name,
                "repeatability": _mean(shares[key]),
                "interval": bootstrap_interval(shares[key]),
                "localisation_error": _mean(errors[key]),
            }
        result[kind] = rows
    return result


def _mean(values: list[float]) -> float | None:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None


def result_table(results: Sequence[dict[str, Any]], title: str) -> Table:
    """One row a method: repeatability at 3 and 1 px and the localisation error, for both kinds of pairs."""
    table = Table(title=title)
    table.add_column("detector")
    for kind in KINDS:
        for name in ("@3 px", "@1 px", "error px"):
            table.add_column(f"{kind} {name}", justify="right")
    table.add_column("points", justify="right")
    for result in results:
        cells = []
        for kind in KINDS:
            for eps in ("3", "1"):
                value = result[kind][eps]["repeatability"]
                cells.append("-" if value is None else f"{value:.3f}")
            error = result[kind]["3"]["localisation_error"]
            cells.append("-" if error is None else f"{error:.2f}")
        table.add_row(result["method"], *cells, f"{result['points']:.0f}")
    return table
