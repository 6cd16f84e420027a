"""Pictures of keypoints on an image, matches of two images, tracks on a frame."""

from collections.abc import Sequence
from dataclasses import replace
from textwrap import fill
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from numpy.typing import ArrayLike, NDArray

from superpoint.data.images import resize_with_points
from superpoint.features import Features
from superpoint.geometry.homography import (
    Matrix,
    frame_corners,
    resize_matrix,
    resize_points,
    shrunk_size,
    warp_points,
)
from superpoint.inference.tracking import Track
from superpoint.matching import Homography, Matches, matched_keypoints
from superpoint.matching.two_view import epipolar_matrix
from superpoint.matching.verdict import Model
from superpoint.visualize import (
    BLUE,
    GREEN,
    MAX_LINES,
    MAX_RINGS,
    SUBPIXEL_BITS,
    VERMILION,
    Image,
    colormap,
    contact_sheet,
    draw_strongest,
    enlarge,
    plot_color,
    side_by_side,
    to_rgb,
)

EPIPOLAR_LINES = 12
LARGE = 4096  # px; larger images are shrunk
SMALL = 1000  # px; smaller images are enlarged by a whole number, so that markers do not hide them


def keypoints_picture(image: NDArray[np.generic], features: Features, name: str) -> Image:
    """Draw the strongest keypoints as rings; their size and colour is the score, as the legend says."""
    image, features, _ = _fitting(image, features)
    scale = max(1, SMALL // max(image.shape[:2]))
    drawn, title = draw_strongest(image, features.keypoints, features.scores, name, scale)
    return contact_sheet([drawn], [title], columns=1, scores=True)


def _fitting(image: NDArray[Any], features: Features) -> tuple[NDArray[Any], Features, Matrix]:
    """Shrink an image and its features to LARGE; return them and the matrix that did it."""
    height, width = image.shape[:2]
    to_height, to_width = shrunk_size(height, width, LARGE)
    small, points = resize_with_points(image, features.keypoints, (to_height, to_width))
    return small, replace(features, keypoints=points), resize_matrix(to_width / width, to_height / height)


def match_figure(
    image0: NDArray[np.uint8],
    image1: NDArray[np.uint8],
    found: tuple[Features, Features, Matches],
    model: Model,
    title: str,
    intrinsics: Sequence[ArrayLike] | None = None,
) -> Figure:
    """Draw both images side by side with their matches.

    Matches that agree with the model are solid blue, the others dotted vermilion; at most MAX_LINES of each kind. Of a
    homography, the outline of the first image in the second is drawn; of a fundamental or essential matrix, epipolar
    lines of a few inliers in both; an essential matrix needs its `intrinsics`.
    """
    matches = found[2]
    image0, first, shrink0 = _fitting(image0, found[0])
    image1, second, shrink1 = _fitting(image1, found[1])
    (height0, width0), (height1, width1) = image0.shape[:2], image1.shape[:2]
    canvas, shift = side_by_side(image0, image1)
    inches = np.array([canvas.shape[1], canvas.shape[0]]) / 100
    inches *= min(16 / inches[0], 10 / inches[1], max(1.0, 8 / inches[0]))
    figure = Figure(figsize=(float(inches[0]), float(inches[1]) + 0.9), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(canvas)
    start, end = matched_keypoints(first, second, matches)
    for side, own, offset in ((0, first, 0 * shift), (1, second, shift)):
        free = np.ones(len(own), bool)
        free[matches.indices[:, side]] = False
        xy = own.keypoints[free] + offset
        label = f"without a match ({len(first) + len(second) - 2 * len(matches)})" if side == 0 else None
        axes.plot(*xy.T, ".", color=(0.75, 0.75, 0.75), markersize=1.5, label=label)
    shown = 0
    kinds = ("other matches", ~model.inliers, VERMILION, ":"), ("inliers", model.inliers, BLUE, "-")
    for label, members, color, style in kinds:
        listed = np.flatnonzero(members)
        listed = listed[np.linspace(0, len(listed) - 1, min(MAX_LINES, len(listed))).astype(int)]
        shown += len(listed)
        lines = np.stack([start[listed], end[listed] + shift])  # [2, N, (x, y)]
        look = {"color": plot_color(color), "linewidth": 0.6, "marker": "o", "markersize": 2}
        drawn = axes.plot(lines[..., 0], lines[..., 1], style, **look)
        if drawn:
            drawn[0].set_label(f"{label} ({int(members.sum())})")
    frames = [Rectangle((left - 0.5, -0.5), width, height, transform=axes.transData)
              for left, width, height in ((0, width0, height0), (shift[0], width1, height1))]  # fmt: skip
    matrix = epipolar_matrix(model, intrinsics)
    if isinstance(model, Homography) and model.matrix is not None:
        to_second = shrink1 @ model.matrix @ np.linalg.inv(shrink0)
        corners = warp_points(frame_corners(height0, width0), to_second) + shift
        outline = Polygon(corners, fill=False, ls="--", ec=plot_color(GREEN), lw=2)
        outline.set_label("first image by the homography")
        axes.add_patch(outline)
        outline.set_clip_path(frames[1])
    elif matrix is not None:
        matrix = np.linalg.inv(shrink1).T @ matrix @ np.linalg.inv(shrink0)
        inliers = np.flatnonzero(model.inliers)
        some = inliers[np.linspace(0, len(inliers) - 1, min(EPIPOLAR_LINES, len(inliers))).astype(int)]
        named = "epipolar lines of some inliers"
        for frame, offset, points, from_other in (
            (frames[0], 0.0, end, matrix.T),
            (frames[1], shift[0], start, matrix),
        ):
            for a, b, c in np.insert(points[some].astype(np.float64), 2, 1, axis=1) @ from_other.T:
                near = -c / max(a * a + b * b, 1e-18) * np.array([a, b])  # the point of the line nearest the origin
                along = (offset + near[0] - b, near[1] + a)
                if np.hypot(a, b) > 0:
                    line = axes.axline((offset + near[0], near[1]), along, color=plot_color(GREEN), lw=0.8, label=named)
                    line.set_clip_path(frame)
                    named = None
    axes.set(xlim=(-0.5, canvas.shape[1] - 0.5), ylim=(canvas.shape[0] - 0.5, -0.5))
    axes.axis("off")
    title = f"{title}; {shown} of {len(matches)} drawn" if shown < len(matches) else title
    # 11 letters fit into an inch.
    axes.set_title(fill(title, int(11 * figure.get_figwidth()), break_on_hyphens=False), fontsize=11)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    return figure


def track_picture(frame: NDArray[np.uint8], tracks: Sequence[Track], longest: int, title: str) -> Image:
    """Draw the latest positions of at most MAX_RINGS tracks on a frame, thin and fading towards the past.

    Viridis: dark for 2 frames, yellow for `longest` and more. A keypoint seen for the first time is a grey dot.
    """
    scale = max(1, SMALL // max(frame.shape[:2]))
    canvas = enlarge(to_rgb(frame), scale)
    order = sorted(tracks, key=lambda track: track.length)
    colors, paths = [], []
    for index in np.linspace(0, len(order) - 1, min(MAX_RINGS, len(order))).astype(int):
        track = order[index]
        share = min(1.0, (track.length - 2) / max(1, longest - 2))
        colors.append(colormap(0.35 + 0.65 * share).tolist() if track.length > 1 else (170, 170, 170))
        places = resize_points(np.array(track.positions), scale, scale).astype(np.float64)
        paths.append(np.rint(places * 2**SUBPIXEL_BITS).astype(int).tolist())
    reach = max(map(len, paths), default=1) - 1
    for age in range(reach, 0, -1):  # the oldest first, the faintest
        layer = canvas.copy()
        for path, color in zip(paths, colors, strict=True):
            if len(path) > age:
                cv2.line(layer, path[-age - 1], path[-age], color, 1, cv2.LINE_AA, SUBPIXEL_BITS)
        share = 1 - (age - 1) / reach
        canvas = cv2.addWeighted(layer, share, canvas, 1 - share, 0).astype(np.uint8)
    for path, color in zip(paths, colors, strict=True):
        for size, ink in ((2.0, (0, 0, 0)), (1.2, color)):  # a dark rim, for any background
            cv2.circle(canvas, path[-1], round(size * 2**SUBPIXEL_BITS), ink, -1, cv2.LINE_AA, SUBPIXEL_BITS)
    return contact_sheet([canvas], [title], columns=1)
