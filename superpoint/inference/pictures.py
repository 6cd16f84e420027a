"""Pictures of keypoints on an image, matches of two images, tracks on a frame."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from numpy.typing import NDArray

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
from superpoint.visualize import (
    BLUE,
    GREEN,
    MAX_LINES,
    SUBPIXEL_BITS,
    VERMILION,
    Image,
    colormap,
    contact_sheet,
    draw_keypoints,
    enlarge,
    plot_color,
    side_by_side,
    to_gray,
    to_rgb,
)

FAINT = 0.01  # scores up to this are drawn in the darkest colour
LARGE = 4096  # px; larger images are shrunk
SMALL = 400  # px; smaller images are enlarged by a whole number, so that markers do not hide them


def keypoints_picture(image: NDArray[np.generic], features: Features, title: str) -> Image:
    """Draw keypoints as rings, coloured by the logarithm of the score (viridis, 1 is yellow)."""
    image, features, _ = _fitting(image, features)
    scale = max(1, SMALL // max(image.shape[:2]))
    levels = np.log10(np.maximum(features.scores, FAINT))
    drawn = draw_keypoints(image, features.keypoints, levels, scale=scale, score_range=(float(np.log10(FAINT)), 0.0))
    return contact_sheet([drawn], [title], columns=1)


def _fitting(image: NDArray[Any], features: Features) -> tuple[NDArray[Any], Features, Matrix]:
    """Shrink an image and its features to LARGE; return them and the matrix that did it."""
    height, width = image.shape[:2]
    to_height, to_width = shrunk_size(height, width, LARGE)
    small, points = resize_with_points(image, features.keypoints, (to_height, to_width))
    return small, replace(features, keypoints=points), resize_matrix(to_width / width, to_height / height)


def match_figure(
    image0: NDArray[np.uint8],
    image1: NDArray[np.uint8],
    features: tuple[Features, Features],
    matches: Matches,
    homography: Homography,
    title: str,
) -> Figure:
    """Draw both images side by side, in grey, with their matches, and the outline of the first in the second.

    Matches that agree with the homography are solid blue, the others dotted vermilion; at most MAX_LINES of each kind.
    """
    image0, first, shrink0 = _fitting(image0, features[0])
    image1, second, shrink1 = _fitting(image1, features[1])
    features = (first, second)
    (height0, width0), (height1, width1) = image0.shape[:2], image1.shape[:2]
    canvas, shift = side_by_side(to_gray(image0), to_gray(image1))
    inches = np.array([canvas.shape[1], canvas.shape[0]]) / 100
    inches *= min(16 / inches[0], 10 / inches[1], max(1.0, 8 / inches[0]))
    figure = Figure(figsize=(float(inches[0]), float(inches[1]) + 0.9), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255, alpha=0.75)
    start, end = matched_keypoints(*features, matches)
    for side, own, offset in ((0, features[0], 0 * shift), (1, features[1], shift)):
        free = np.ones(len(own), bool)
        free[matches.indices[:, side]] = False
        xy = own.keypoints[free] + offset
        label = f"without a match ({sum(map(len, features)) - 2 * len(matches)})" if side == 0 else None
        axes.plot(*xy.T, ".", color=(0.45, 0.45, 0.45), markersize=2.5, label=label)
    shown = 0
    kinds = ("other matches", ~homography.inliers, VERMILION, ":"), ("inliers", homography.inliers, BLUE, "-")
    for label, members, color, style in kinds:
        listed = np.flatnonzero(members)
        listed = listed[np.linspace(0, len(listed) - 1, min(MAX_LINES, len(listed))).astype(int)]
        shown += len(listed)
        lines = np.stack([start[listed], end[listed] + shift])  # [2, N, (x, y)]
        look = {"color": plot_color(color), "linewidth": 1, "marker": "o", "markersize": 2.5}
        drawn = axes.plot(lines[..., 0], lines[..., 1], style, **look)
        if drawn:
            drawn[0].set_label(f"{label} ({int(members.sum())})")
    if homography.matrix is not None:
        corners = (
            warp_points(frame_corners(height0, width0), shrink1 @ homography.matrix @ np.linalg.inv(shrink0)) + shift
        )
        outline = Polygon(corners, fill=False, ls="--", ec=plot_color(GREEN), lw=2.5)
        outline.set_label("first image by the homography")
        axes.add_patch(outline)
        outline.set_clip_path(Rectangle((shift[0] - 0.5, -0.5), width1, height1, transform=axes.transData))
    axes.set(xlim=(-0.5, canvas.shape[1] - 0.5), ylim=(canvas.shape[0] - 0.5, -0.5))
    axes.axis("off")
    axes.set_title(f"{title} ({shown} shown)" if shown < len(matches) else title, fontsize=11)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    return figure


def track_picture(frame: NDArray[np.uint8], tracks: Sequence[Track], longest: int, title: str) -> Image:
    """Draw the latest positions of tracks on a frame; viridis: dark for 2 frames, yellow for `longest` and more.

    A keypoint seen for the first time is a grey dot.
    """
    scale = max(1, SMALL // max(frame.shape[:2]))
    canvas = enlarge(to_rgb(frame), scale)
    one = 2**SUBPIXEL_BITS
    for track in sorted(tracks, key=lambda track: track.length):
        places = resize_points(np.array(track.positions), scale, scale).astype(np.float64)
        fixed = np.rint(places * one).astype(np.int32)
        tip = (int(fixed[-1, 0]), int(fixed[-1, 1]))
        if track.length == 1:
            cv2.circle(canvas, tip, one, (170, 170, 170), -1, cv2.LINE_AA, SUBPIXEL_BITS)
            continue
        share = min(1.0, (track.length - 2) / max(1, longest - 2))
        color = tuple(int(value) for value in colormap(0.35 + 0.65 * share))
        for ink, thick in (((0, 0, 0), 4), (color, 2)):  # a dark rim, for any background
            cv2.polylines(canvas, [fixed.reshape(-1, 1, 2)], False, ink, thick, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.circle(canvas, tip, 2 * one, color, -1, cv2.LINE_AA, SUBPIXEL_BITS)
    return contact_sheet([canvas], [title], columns=1)
