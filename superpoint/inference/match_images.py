"""Stage match: the matches of two images and the geometry between them, drawn and in numbers."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superpoint.config.inference import InferenceConfig, check_intrinsics, check_matcher
from superpoint.data.bands import read_image
from superpoint.data.images import read_focal, read_orientation
from superpoint.errors import UserError, check_one_of
from superpoint.files import refuse_inputs, write_json
from superpoint.geometry.homography import Matrix, resize_matrix, resize_points
from superpoint.geometry.orientation import turned_back, turned_points
from superpoint.inference.images import shrink
from superpoint.inference.pictures import match_figure
from superpoint.inference.see import load_detector, see
from superpoint.labelling.memory import free_memory
from superpoint.matching import (
    MODEL_KINDS,
    VIEWS,
    Copies,
    Essential,
    camera_matrix,
    explain,
    match_views,
    matched_keypoints,
    relative_pose,
    verdict,
)
from superpoint.matching.two_view import residuals
from superpoint.reconstruction.match_file import write_matches
from superpoint.visualize import save_figure

STEPS = ("detect_first", "detect_second", "match", "estimate")
LARGEST = 1 << 20  # bytes, far more than the numbers that stand before the matches


def match_images(
    first: str | Path,
    second: str | Path,
    out: str | Path,
    config: InferenceConfig,
    *,
    matcher: str = "mutual",
    estimator: str = "gcransac",
    threshold: float | None = None,
    views: str = "auto",
    model_kind: str = "auto",
    intrinsics: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Match two image files; write `out` and the numbers beside it (.json); return the numbers.

    Args:
        out: a picture (.png, .jpg), matches and keypoints in hloc's layout (.h5, of the pixels as stored), or .json for
            the numbers alone. These, and the picture, are of the images as EXIF turns them.
        matcher, estimator: see `matching.match` and `matching.fit_homography`.
        threshold: of inliers, in pixels of the second image as the network sees it.
        views: see `matching.match_views`.
        model_kind: see `matching.explain`.
        intrinsics: fx, fy, cx, cy in pixels of the original, of both cameras or of each; None: "essential" takes the
            focal lengths of EXIF.

    Raises: UserError for an unreadable image, a network without descriptors, intrinsics that are missing or wrong, or
        an `out` that cannot be written or holds something else.
    """
    target = Path(out)
    refuse_inputs(target, (first, second))
    check_one_of("--views", views, VIEWS)
    check_matcher("--matcher", matcher)
    check_one_of("--model-kind", model_kind, MODEL_KINDS)
    figures = target.with_suffix(".json")
    if figures.is_file() and b'"homography"' not in figures.read_bytes()[:LARGEST]:
        raise UserError(f"--out: {figures}, where the numbers go, is a file of another kind; take another name")
    paths = (str(first), str(second))
    if target.suffix.lower() == ".h5":
        if target.exists() and not figures.is_file():
            raise UserError(f"--out: {target} exists already, and is not of an earlier match; take another name")
        if paths[0] == paths[1]:
            raise UserError(
                f"{first}: found twice, expected two images; a matches file tells them apart by their names"
            )
    cameras = _cameras(paths, intrinsics, exif=model_kind == "essential")
    model = load_detector(config, described=True)
    images = [read_image(path, model.channels) for path in paths]
    sizes = [(image.shape[1], image.shape[0]) for image in images]
    times, copies = [perf_counter()], []
    for path, image in zip(paths, images, strict=True):
        seen = see(model, image, config, path)  # says what is wrong with the image as a whole
        extract = lambda part, path=path: see(model, part, config, path).features  # noqa: E731
        copies.append(Copies(seen.image, extract, seen.features))
        times.append(perf_counter())
    _check_room(*(len(each.features()[0]) for each in copies))
    found = match_views(copies[0], copies[1], views, matcher, estimator, threshold=threshold)
    times.append(perf_counter())
    given = found[:3]
    to_seen = [resize_matrix(*np.divide(each.size[::-1], size)) for each, size in zip(copies, sizes, strict=True)]
    inside = None if cameras is None else [to @ camera for to, camera in zip(to_seen, cameras, strict=True)]
    chosen = explain(*given, model_kind, estimator, threshold=threshold, intrinsics=inside, homography=found.homography)
    times.append(perf_counter())
    geometry, count = chosen.model, len(found.matches)
    points = [
        resize_points(each, *np.divide(size, copy.size[::-1]))
        for each, size, copy in zip((found.features0.keypoints, found.features1.keypoints), sizes, copies, strict=True)
    ]
    listed = [each[found.matches.indices[:, side]] for side, each in enumerate(points)]
    errors = residuals(geometry, *matched_keypoints(*given), inside)[geometry.inliers]
    matrices = {"homography": found.homography.matrix, chosen.kind: geometry.matrix}
    numbers = {
        "images": list(paths),
        "sizes": [list(size) for size in sizes],
        "model": f"{model.name} ({model.network})",
        "keypoints": [len(each) for each in points],
        "matcher": matcher,
        "matches": count,
        "views": views,
        "view": None if found.view is None else _between(found.view, to_seen[0], np.eye(3)),
        "copies_compared": found.tried,
        "estimator": estimator,
        "model_kind": chosen.kind,
        "why": chosen.why(),
        "verdict": verdict(found.features1, geometry, estimator, threshold=threshold),
        "inliers": int(geometry.inliers.sum()),
        "inlier_share": float(geometry.inliers.mean()) if count else 0.0,
        "median_error": float(np.median(errors)) if errors.size and np.isfinite(errors).any() else None,
        **{kind: _in_originals(kind, matrix, to_seen) for kind, matrix in matrices.items()},
        "milliseconds": dict(zip(STEPS, (round(1e3 * step, 2) for step in np.diff(times).tolist()), strict=True)),
    }
    if isinstance(geometry, Essential) and inside is not None:
        pose = relative_pose(*given, geometry, inside)
        parts = None if pose is None else {"R": pose.rotation.tolist(), "t": pose.translation.tolist()}
        numbers["pose"] = parts
    scores = [round(score, 4) for score in found.matches.scores.tolist()]
    coordinates = {f"points{side}": np.round(each.astype(np.float64), 3).tolist() for side, each in enumerate(listed)}
    numbers["correspondences"] = {**coordinates, "scores": scores, "inliers": geometry.inliers.tolist()}
    if target.suffix.lower() == ".h5":
        names = [Path(path).name for path in paths] if Path(paths[0]).name != Path(paths[1]).name else list(paths)
        counts = dict(zip(names, map(len, points), strict=True))
        turns = [turned_back(read_orientation(path)) for path in paths]  # hloc works on the pixels as stored
        stored = [turned_points(*each) for each in zip(points, sizes, turns, strict=True)]
        found_points = dict(zip(names, stored, strict=True))
        write_matches(target, {(names[0], names[1]): found.matches}, counts, keypoints=found_points)
    elif target.suffix.lower() != ".json":
        name = chosen.kind if chosen.kind == "homography" else f"{chosen.kind} matrix"
        state = f"no {name}" if geometry.matrix is None else f"{numbers['inliers']} agree with a {name}"
        title = f"{Path(first).name} and {Path(second).name}: {count} matches ({matcher}), {state}"
        shown = [
            shrink(read_image(path, 3 if model.channels == 1 else model.channels), config.resize) for path in paths
        ]
        save_figure(target, match_figure(shown[0], shown[1], given, geometry, title, inside))
    write_json(figures, numbers)
    _show(numbers, target)
    return numbers


def _cameras(paths: Sequence[str], intrinsics: Sequence[float] | None, *, exif: bool) -> list[Matrix] | None:
    """Return K of both originals, as given or from EXIF; None if they are not needed."""
    if intrinsics is not None:
        check_intrinsics("--intrinsics", intrinsics)
        given = list(intrinsics) * (2 if len(intrinsics) == 4 else 1)
        return [np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]) for fx, fy, cx, cy in (given[:4], given[4:])]
    if not exif:
        return None
    found = [read_focal(path) for path in paths]
    for path, seen in zip(paths, found, strict=True):
        if seen is None:
            raise UserError(
                f"{path}: found no focal length in its EXIF data, expected one, or --intrinsics fx,fy,cx,cy"
            )
    return [camera_matrix(*seen) for seen in found if seen is not None]


def _check_room(first: int, second: int) -> None:
    """Raise UserError if the similarities of so many keypoints, and a copy, do not fit into the memory."""
    if 8 * first * second > free_memory(torch.device("cpu")):
        raise UserError(
            f"--max-keypoints: found {first} and {second} keypoints, too many to compare in the memory that is free; "
            "expected fewer, e.g. --max-keypoints 10000"
        )


def _in_originals(kind: str, matrix: Matrix | None, to_seen: Sequence[Matrix]) -> list[list[float]] | None:
    """Return a matrix between the images as they are seen as one between the originals."""
    if matrix is None:
        return None
    if kind == "essential":  # has no pixels
        return matrix.tolist()
    if kind == "fundamental":
        return (to_seen[1].T @ matrix @ to_seen[0]).tolist()
    return _between(matrix, to_seen[0], to_seen[1])


def _between(matrix: Matrix, to_first: Matrix, to_second: Matrix) -> list[list[float]]:
    found = np.linalg.inv(to_second) @ matrix @ to_first
    return (found / abs(found[2, 2]) if abs(found[2, 2]) > 1e-12 else found).tolist()


def _show(numbers: dict[str, Any], target: Path) -> None:
    table = Table(title=f"Matches by {numbers['model']}", show_header=False)
    for index, name in enumerate(("first image", "second image")):
        width, height = numbers["sizes"][index]
        path = numbers["images"][index]
        table.add_row(name, Text(f"{path}, {width}x{height}, {numbers['keypoints'][index]} keypoints"))
    table.add_row("matches", f"{numbers['matches']} ({numbers['matcher']})")
    table.add_row("inliers", f"{numbers['inliers']} ({numbers['inlier_share']:.0%}, {numbers['estimator']})")
    table.add_row("geometry", numbers["why"])
    if numbers["view"] is not None:
        compared = numbers["copies_compared"]
        found = f"the best of {compared} pairs of copies" if compared else "as the first matches suggest"
        table.add_row("view", f"first image turned and resized, {found}")
    error = numbers["median_error"]
    table.add_row("median error of inliers", "-" if error is None else f"{error:.2f} px")
    kind = numbers["model_kind"]
    rows = ["".join(f"{x:13.5g}" for x in row)[1:] for row in numbers[kind] or []]
    table.add_row(f"{kind}, first to second", "\n".join(rows) or "none: too few matches agree")
    times = numbers["milliseconds"]
    table.add_row("time", ", ".join(f"{name.replace('_', ' ')} {value:.0f} ms" for name, value in times.items()))
    console = Console()
    console.print(table)
    agree = f"{numbers['inliers']} of {numbers['matches']} matches agree"
    probably = "show the same thing" if numbers["verdict"] == "match" else "probably do not show the same thing"
    console.print(f"{agree}: these images {probably}", soft_wrap=True)
    kind = {".json": "", ".h5": f"matches: {target}; "}.get(target.suffix.lower(), f"picture: {target}; ")
    console.print(f"{kind}numbers: {target.with_suffix('.json')}", soft_wrap=True)
