"""Stage match: the matches of two images and the homography between them, drawn and in numbers."""

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superpoint.config.inference import InferenceConfig
from superpoint.data.bands import read_image
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.files import refuse_inputs, write_json
from superpoint.geometry.homography import resize_matrix, warp_points
from superpoint.inference.pictures import match_figure
from superpoint.inference.see import Seen, load_detector, see
from superpoint.labelling.memory import free_memory
from superpoint.matching import Homography, Matches, estimate_homography, match, matched_keypoints, verdict
from superpoint.visualize import save_figure

STEPS = ("detect_first", "detect_second", "match", "estimate")
LARGEST = 1 << 20  # bytes, far more than the numbers of a match


def match_images(
    first: str | Path,
    second: str | Path,
    out: str | Path,
    config: InferenceConfig,
    *,
    matcher: str = "mutual",
    estimator: str = "gcransac",
    threshold: float | None = None,
) -> dict[str, Any]:
    """Match two image files; write a picture (`out`, .png) and the numbers beside it (.json); return the numbers.

    Args:
        matcher, estimator: see `inference.match` and `inference.estimate_homography`.
        threshold: of inliers, in pixels of the second image as the network sees it.

    Raises: UserError for an unreadable image, a network without descriptors, or an `out` that cannot be written or
        holds something else.
    """
    target = Path(out)
    refuse_inputs(target, (first, second))
    figures = target.with_suffix(".json")
    if figures.is_file() and b'"homography"' not in figures.read_bytes()[:LARGEST]:
        raise UserError(f"--out: {figures}, where the numbers go, is a file of another kind; take another name")
    model = load_detector(config, described=True)
    images = [read_image(path, model.channels) for path in (first, second)]
    times, views = [perf_counter()], []
    for path, image in zip((first, second), images, strict=True):
        views.append(see(model, image, config, str(path)))
        times.append(perf_counter())
    seen = (views[0].features, views[1].features)
    _check_room(*map(len, seen))
    matches = match(*seen, matcher)
    times.append(perf_counter())
    homography = estimate_homography(*seen, matches, estimator, threshold=threshold)
    times.append(perf_counter())
    numbers = {
        "images": [str(first), str(second)],
        "sizes": [list(view.size) for view in views],
        "model": f"{model.name} ({model.network})",
        "keypoints": [len(each) for each in seen],
        "matcher": matcher,
        "matches": len(matches),
        "estimator": estimator,
        "verdict": verdict(seen[1], homography, estimator, threshold=threshold),
        "inliers": int(homography.inliers.sum()),
        "inlier_share": float(homography.inliers.mean()) if len(matches) else 0.0,
        "median_error": _median_error(seen, matches, homography),
        "homography": _in_originals(homography, views),
        "milliseconds": dict(zip(STEPS, (round(1e3 * step, 2) for step in np.diff(times).tolist()), strict=True)),
    }
    state = "no homography" if homography.matrix is None else f"{numbers['inliers']} inliers by {estimator}"
    title = f"{Path(first).name} and {Path(second).name}: {len(matches)} matches ({matcher}), {state}"
    save_figure(target, match_figure(views[0].image, views[1].image, seen, matches, homography, title))
    write_json(figures, numbers)
    _show(numbers, target)
    return numbers


def _check_room(first: int, second: int) -> None:
    """Raise UserError if the similarities of so many keypoints, and a copy, do not fit into the memory."""
    if 8 * first * second > free_memory(torch.device("cpu")):
        raise UserError(
            f"--max-keypoints: found {first} and {second} keypoints, too many to compare in the memory that is free; "
            "expected fewer, e.g. --max-keypoints 10000"
        )


def _median_error(seen: tuple[Features, Features], matches: Matches, homography: Homography) -> float | None:
    """Return the error of the inliers, in pixels of the second image as the network sees it."""
    if homography.matrix is None or not homography.inliers.any():
        return None
    start, end = (points[homography.inliers] for points in matched_keypoints(*seen, matches))
    distances = np.linalg.norm(warp_points(start, homography.matrix) - end, axis=1)
    return float(np.nanmedian(distances))


def _in_originals(homography: Homography, views: list[Seen]) -> list[list[float]] | None:
    """Return the homography between the original images."""
    if homography.matrix is None:
        return None
    ratio = [np.divide(view.features.image_size, view.size) for view in views]
    matrix = resize_matrix(*(1 / ratio[1])) @ homography.matrix @ resize_matrix(*ratio[0])
    return (matrix / abs(matrix[2, 2]) if abs(matrix[2, 2]) > 1e-12 else matrix).tolist()


def _show(numbers: dict[str, Any], target: Path) -> None:
    table = Table(title=f"Matches by {numbers['model']}", show_header=False)
    for index, name in enumerate(("first image", "second image")):
        width, height = numbers["sizes"][index]
        path = numbers["images"][index]
        table.add_row(name, Text(f"{path}, {width}x{height}, {numbers['keypoints'][index]} keypoints"))
    table.add_row("matches", f"{numbers['matches']} ({numbers['matcher']})")
    table.add_row("inliers", f"{numbers['inliers']} ({numbers['inlier_share']:.0%}, {numbers['estimator']})")
    error = numbers["median_error"]
    table.add_row("median error of inliers", "-" if error is None else f"{error:.2f} px")
    rows = ["".join(f"{x:13.5g}" for x in row)[1:] for row in numbers["homography"] or []]
    table.add_row("homography, first to second", "\n".join(rows) or "none: too few matches agree")
    times = numbers["milliseconds"]
    table.add_row("time", ", ".join(f"{name.replace('_', ' ')} {value:.0f} ms" for name, value in times.items()))
    console = Console()
    console.print(table)
    agree = f"{numbers['inliers']} of {numbers['matches']} matches agree"
    probably = "show the same thing" if numbers["verdict"] == "match" else "probably do not show the same thing"
    console.print(f"{agree}: these images {probably}", soft_wrap=True)
    console.print(f"picture: {target}; numbers: {target.with_suffix('.json')}", soft_wrap=True)
