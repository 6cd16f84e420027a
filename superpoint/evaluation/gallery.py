"""Pictures of single pairs: right and wrong matches, and the outline of the first view by the estimated homography."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from superpoint.evaluation.pair_metrics import Outcome, PairRecord
from superpoint.evaluation.pairs import match_errors
from superpoint.evaluation.views import ViewPair
from superpoint.features import Features
from superpoint.files import make_folder
from superpoint.geometry.homography import Matrix, frame_corners, warp_points
from superpoint.visualize import BLUE, GREEN, MAX_LINES, ORANGE, VERMILION, plot_color, save_figure, side_by_side

Redraw = Callable[[str, str], tuple[ViewPair, Features, Features, Outcome]]  # (extractor, pair's name)


def write_gallery(folder: Path, records: Sequence[PairRecord], redraw: Redraw, count: int) -> list[Path]:
    """Draw the `count` best and worst pairs per extractor, by RANSAC's corner error: <extractor>-best-1.png, ..."""
    make_folder(folder)
    for old in folder.glob("*.png"):
        old.unlink()  # of an earlier run with other extractors
    written = []
    for extractor in dict.fromkeys(record.extractor for record in records):
        mine = [record for record in records if record.extractor == extractor]
        order = sorted(mine, key=lambda record: (record.errors["ransac"][0], -record.mma[2]))
        best = order[: min(count, (len(order) + 1) // 2)]
        worst = order[::-1][: min(count, len(order) // 2)]
        for kind, chosen in (("best", best), ("worst", worst)):
            for place, record in enumerate(chosen, 1):
                figure = pair_figure(*redraw(extractor, record.pair), record)
                name = "".join(letter if letter.isalnum() or letter in "+-." else "_" for letter in extractor)
                written.append(save_figure(folder / f"{name}-{kind}-{place}.png", figure))
    return written


def pair_figure(pair: ViewPair, a: Features, b: Features, outcome: Outcome, record: PairRecord) -> Figure:
    """Draw both views side by side with the matches, and the outline of the first view in the second.

    Matches that agree with RANSAC's homography and with the true one (3 px): solid blue. With RANSAC's alone: dashed
    vermilion; with the truth alone: dash-dotted orange. Outlines: true one solid green, estimated one dashed vermilion.
    """
    size_a = pair.image_a.shape[:2]
    canvas, shift = side_by_side(pair.image_a, pair.image_b)
    figure = Figure(figsize=(canvas.shape[1] / 100, canvas.shape[0] / 100 + 1.15), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255, alpha=0.75)
    estimate = outcome.estimates["ransac"][0]
    pairs = outcome.matches.indices
    chosen = np.linspace(0, len(pairs) - 1, min(MAX_LINES, len(pairs))).astype(int)
    start, end = a.keypoints[pairs[:, 0]], b.keypoints[pairs[:, 1]]
    right, inlier = match_errors(start, end, pair.h_a_b) <= 3, estimate.inliers
    kinds = (
        ("neither", ~right & ~inlier, (150, 150, 150), ":", 0.7),
        ("true, not RANSAC's", right & ~inlier, ORANGE, "-.", 1.1),
        ("RANSAC's, but wrong", ~right & inlier, VERMILION, "--", 1.1),
        ("RANSAC's and true", right & inlier, BLUE, "-", 1.0),
    )
    for label, members, color, style, width in kinds:
        lines = [index for index in chosen if members[index]]
        for place, index in enumerate(lines):
            (x0, y0), (x1, y1) = start[index], end[index] + shift
            # One line of each kind is named, so that the legend shows colour and dashes.
            named = f"{label} ({int(members.sum())})" if place == 0 else None
            axes.plot([x0, x1], [y0, y1], style, color=plot_color(color), linewidth=width, label=named)
    _outline(axes, pair.h_a_b, size_a, shift, GREEN, "-", "true outline of the first view")
    if estimate.matrix is not None:
        _outline(axes, estimate.matrix, size_a, shift, VERMILION, "--", "estimated outline")
    axes.set(xlim=(-0.5, canvas.shape[1] - 0.5), ylim=(canvas.shape[0] - 0.5, -0.5))
    axes.axis("off")
    found = "no homography" if estimate.matrix is None else "maps a corner beyond the horizon"
    error = record.errors["ransac"][0]  # of the matches that are drawn
    if np.isfinite(error):
        found = f"corner error {error:.1f} px"
    shown = f"{len(chosen)} of {len(pairs)} matches" if len(chosen) < len(pairs) else f"{len(pairs)} matches"
    correct = f"{record.mma[2]:.0%} within 3 px"
    axes.set_title(f"{record.extractor} on {record.pair}\nRANSAC: {found}; {shown} shown, {correct}", fontsize=11)
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    return figure


def _outline(
    axes: Axes,
    h_a_b: Matrix,
    size: tuple[int, int],
    shift: NDArray[np.float64],
    color: tuple[int, int, int],
    style: str,
    label: str,
) -> None:
    corners = warp_points(frame_corners(*size), h_a_b) + shift
    closed = np.concatenate([corners, corners[:1]])
    # The true outline is the wider, so that it shows beside an estimate that covers it.
    axes.plot(*closed.T, style, color=plot_color(color), linewidth=5.0 if style == "-" else 2.0, label=label)
