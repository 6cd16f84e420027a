"""Draw how a network learns one image: a strip of heatmaps over the steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from superpoint.geometry.cells import CELL
from superpoint.visualize import ORANGE, SKY, Image, contact_sheet, draw_keypoints, overlay_heatmap

COLUMNS = 3
SIDE = 480  # px to which a smaller picture is enlarged: three times one of 160 px, so that a peak of one pixel shows


@dataclass(frozen=True)
class Frame:
    """The network at one step, in evaluation mode.

    Attributes:
        probability: [H, W], 0..1.
        wrong: bool [H / 8, W / 8], valid cells whose largest channel is not the label.
        cells: how many cells are valid.
    """

    step: int
    loss: float
    probability: NDArray[np.floating]
    wrong: NDArray[np.bool_]
    cells: int

    @property
    def title(self) -> str:
        wrong = int(self.wrong.sum())
        return f"step {self.step}: loss {self.loss:.3g}, {wrong if wrong else 'none'} of {self.cells} cells wrong"


def moments(steps: Sequence[int], wrong: Sequence[int], spaced: int = 8, eventful: int = 4) -> list[int]:
    """Return indices of the frames to show, at most `spaced` + `eventful`, first and last included.

    `spaced` are even in log(1 + step), since most changes at first; at `eventful` the number of `wrong` cells changed
    most.
    """
    if not steps:
        return []
    wanted = np.expm1(np.linspace(np.log1p(steps[0]), np.log1p(steps[-1]), spaced))
    chosen = {int(np.abs(np.asarray(steps) - step).argmin()) for step in wanted} | {0, len(steps) - 1}
    change = np.abs(np.diff(np.asarray(wrong)))
    largest = [int(i) + 1 for i in np.argsort(-change, kind="stable") if change[i] and i + 1 not in chosen]
    return sorted(chosen | set(largest[:eventful]))


def heatmap_strip(
    image: NDArray[np.uint8], points: ArrayLike, positive: NDArray[np.bool_], frames: Sequence[Frame]
) -> Image:
    """Draw frames in rows, labels as rings; in the last cells with a point have a thin frame, wrong ones a thick one.

    Args:
        image: uint8 [H, W] or [H, W, C].
        points: labels [N, 2], (x, y) in pixels of `image`.
        positive: bool [H / 8, W / 8], cells whose label is a point.
        frames: at least one, in the order of their steps.
    """
    scale = max(1, SIDE // max(image.shape[:2]))
    pictures = []
    for frame in frames:
        heat = np.sqrt(np.asarray(frame.probability, np.float64).clip(0, 1))  # the weak show beside the strong
        pictures.append(draw_keypoints(overlay_heatmap(image, heat), points, scale=scale, radius=scale + 2.0))
    last = frames[-1]
    for cells, color, width in ((positive & ~last.wrong, SKY, 1), (last.wrong, ORANGE, 2)):
        for row, column in np.argwhere(cells).tolist():
            corner, side = (column * CELL * scale, row * CELL * scale), CELL * scale - 1
            cv2.rectangle(pictures[-1], (*corner, side, side), color, width)
    titles = [frame.title for frame in frames]
    titles[-1] += " (thick frames)" if last.wrong.any() else ""
    return contact_sheet(pictures, titles, columns=COLUMNS)
