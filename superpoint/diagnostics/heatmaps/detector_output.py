"""A detector's output on one image, measured for the heatmap figures and the report."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from superpoint.diagnostics.checks.output import ALIKE_CELLS, ENOUGH_POINTS, FAR, FEWEST, GRID, LARGE, NEAR_BORDER
from superpoint.diagnostics.heatmaps.cell_maps import CellMaps, Cells, measure_cells
from superpoint.evaluation.statistics import NMS_RADIUS, THRESHOLD, output_statistics
from superpoint.geometry.cells import CELL, DUSTBIN, encode_points, image_tensor
from superpoint.geometry.homography import inside
from superpoint.geometry.placement import Placement, measure_placement
from superpoint.models.decode import pad_to_multiple, probability_to_keypoints
from superpoint.visualize import to_gray


@dataclass(frozen=True)
class Subject:
    """An image to show to a network: uint8 [H, W] or [H, W, C], and what `measure_output` takes of its labels.

    Attributes:
        name: for titles.
        slug: for the names of files.
    """

    name: str
    image: NDArray[np.uint8]
    points: NDArray[np.floating] | None = None
    target: Cells | None = None
    valid: Cells | None = None
    slug: str = ""


@dataclass(frozen=True)
class DetectorOutput:
    """What `measure_output` returns.

    Attributes:
        image: uint8 [H, W], of several channels their mean.
        points, scores: detections [N, 2] (x, y) and their probability [N], up to the very border.
        labels: label points [M, 2] (x, y); None without labels.
        statistics: of `output_statistics`.
        placement: of the detections.
    """

    image: NDArray[np.uint8]
    maps: CellMaps
    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.float32] | None
    statistics: dict[str, float]
    placement: Placement

    def describe(self) -> str:
        """Return size, rules and key statistics in three lines, with healthy values where they are known."""
        values, placement, (height, width) = self.statistics, self.placement, self.image.shape
        rows, columns = self.maps.valid.shape
        ignored = int((~self.maps.valid).sum())
        about = [f"image {width} x {height} px, {columns} x {rows} cells"]
        about += [f"{ignored} cells ignored (darkened)"] if ignored else []
        about.append("detections: probability > 0.015, suppression within 4 px, up to the border")
        parts = [f"dustbin mean {values['dustbin']:.3f}"]
        if "recall" in values:
            parts.append(f"recall {values['recall']:.2f}")
        parts.append(f"{placement.keypoints} detections")
        if placement.keypoints:
            parts.append(f"border density {placement.border:.2f} (even: 1)")
            parts.append(f"fullest row or column of the cell {placement.fullest:.1%} (even: 12.5 %)")
            parts.append(f"sharpness {values['sharpness']:.2f} (one pixel: 1, flat: 0.04)")
        more = [
            f"cell pattern {values['cell_pattern']:.2f} (all cells alike: 1)",
            f"largest |logit| {values['logit_max']:.1f}",
            f"logit range of a cell {values['cell_range']:.1f}",
            f"logsumexp spread {values['cell_scale']:.1f} nats",
            f"naive exp() fails in {values['naive_exp_overflow']:.0%} of the cells",
        ]
        return "\n".join("   |   ".join(line) for line in (about, parts, more))

    def verdict(self) -> str:
        """Return in a sentence whether the output is healthy, by the limits of the doctor's checks."""
        values, placement = self.statistics, self.placement
        signs = {
            "no detections": not placement.keypoints,
            "all cells look alike": values["cell_pattern"] > ALIKE_CELLS,
            "detections lie on a grid": placement.keypoints >= ENOUGH_POINTS and placement.fullest > GRID,
            "detections crowd at the border": placement.keypoints >= FEWEST and placement.border > NEAR_BORDER,
            "logits are too large": values["logit_max"] > LARGE or values["cell_scale"] > FAR,
        }
        found = [sign for sign, holds in signs.items() if holds]
        return f"Suspicious: {'; '.join(found)}" if found else "Looks healthy: no sign of a fault in this output"


def observe(model: nn.Module, subject: Subject) -> DetectorOutput:
    """Run a network, in evaluation mode, on an image of any size and measure its output.

    Raises: UserError if the output is not finite.
    """
    device = next(model.parameters()).device
    image = image_tensor([subject.image]).to(device).float() / 255
    with torch.no_grad():
        (logits,) = model(pad_to_multiple(image))["logits"].float().cpu()
    return measure_output(to_gray(subject.image), logits, subject.points, subject.target, subject.valid)


def measure_output(
    image: NDArray[np.uint8],
    logits: torch.Tensor,
    points: ArrayLike | None = None,
    target: Cells | None = None,
    valid: Cells | None = None,
) -> DetectorOutput:
    """Measure the output of a detector on one image.

    Detections: probability > 0.015, suppression within 4 px, up to the border, where artefacts must show.

    Args:
        image: uint8 [H, W], any size.
        logits: [65, ceil(H / 8), ceil(W / 8)], of the image padded as `models.decode.pad_to_multiple` does.
        points: labels [N, 2] (x, y) in pixels of `image`; without `target` they are encoded to one.
        target: int [Hc, Wc] in 0..64, 64 = dustbin.
        valid: bool [Hc, Wc], the cells the loss counts. None = all.

    Raises:
        UserError: logits that are not finite.
    """
    height, width = image.shape
    labels = None if points is None else np.asarray(points, np.float32).reshape(-1, 2)
    if labels is not None:
        labels = labels[inside(labels, height, width)]  # a warp may push points off the image, or to NaN
        if target is None:
            target = encode_points(labels, height + -height % CELL, width + -width % CELL)
    maps = measure_cells(logits, (height, width), target, valid)
    if labels is None and maps.target is not None:
        rows, columns = np.nonzero(maps.target != DUSTBIN)
        place = maps.target[rows, columns]
        labels = np.stack([columns * CELL + place % CELL, rows * CELL + place // CELL], axis=1).astype(np.float32)
    (found,) = probability_to_keypoints(
        torch.from_numpy(maps.probability)[None],
        nms_radius=NMS_RADIUS,
        threshold=THRESHOLD,
        border=0,
        max_keypoints=0,
        subpixel=True,
    )
    statistics = output_statistics(
        torch.from_numpy(maps.logits)[None],
        None if maps.target is None else torch.from_numpy(maps.target)[None],
        torch.from_numpy(maps.valid)[None],
    )
    detected = found.points.numpy()
    placement = measure_placement([detected], [(height, width)])
    return DetectorOutput(image, maps, detected, found.scores.numpy(), labels, statistics, placement)
