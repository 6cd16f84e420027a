"""Pictures of the report: what the network says about a few images, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from superpoint.diagnostics.heatmaps.cell_maps import Verdict
from superpoint.diagnostics.heatmaps.detector_output import DetectorOutput, measure_output
from superpoint.geometry.cells import CELL, DUSTBIN, valid_cells
from superpoint.models.decode import pad_to_multiple
from superpoint.visualize import colormap, draw_points, enlarge, to_rgb

SHOWN_WIDTH = 300  # pixels; a smaller image is enlarged to at least this


@dataclass(frozen=True)
class Subject:
    """An image to show the network: uint8 [H, W], and its labels float32 [N, 2] (x, y) if there are any."""

    name: str
    image: NDArray[np.uint8]
    points: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Output:
    """What the network makes of a subject.

    Attributes:
        subject: the image.
        pictures: (title, uint8 [H, W, 3]): input, probability, dustbin, detections.
        facts: one line of figures.
        logits: float32 [65, Hc, Wc].
    """

    subject: Subject
    pictures: list[tuple[str, NDArray[np.uint8]]]
    facts: str
    logits: torch.Tensor


@dataclass(frozen=True)
class DescriptorPictures:
    """What the network makes of some training pairs.

    Attributes:
        positive, negative: cosine similarities of two views of a place, and of different places.
        pictures: pairs with their matches as (title, uint8 [H, W, 3]).
        notes: why something is not here.
    """

    positive: NDArray[np.floating] = field(default_factory=lambda: np.zeros(0))
    negative: NDArray[np.floating] = field(default_factory=lambda: np.zeros(0))
    pictures: Sequence[tuple[str, NDArray[np.uint8]]] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class RunPictures:
    """Attributes:
    weights: which weights made the outputs, in words.
    outputs: by subject.
    statistics: `evaluation.statistics.output_statistics` by group of subjects ("synthetic scenes", "photographs").
    samples: training samples with their labels as (title, uint8 [H, W, 3]).
    notes: why something is not here.
    descriptors: of a run that trains them, what they make of training pairs.
    """

    weights: str = ""
    outputs: list[Output] = field(default_factory=list)
    statistics: dict[str, dict[str, float]] = field(default_factory=dict)
    samples: list[tuple[str, NDArray[np.uint8]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    descriptors: DescriptorPictures | None = None


def show_output(model: nn.Module, subject: Subject) -> Output:
    """Run the network, in evaluation mode, on an image and draw its output.

    Raises: UserError if the output is not finite.
    """
    height, width = subject.image.shape
    device = next(model.parameters()).device
    image = pad_to_multiple(torch.from_numpy(subject.image)[None, None].to(device).float() / 255)
    with torch.no_grad():
        logits = model(image)["logits"][0].float().cpu()
    inside = np.zeros(tuple(image.shape[-2:]), bool)
    inside[:height, :width] = True
    output = measure_output(subject.image, logits, subject.points, valid=valid_cells(inside))
    maps, truth = output.maps, output.labels
    scale = max(1, -(-SHOWN_WIDTH // width))
    dustbin = enlarge(colormap(maps.dustbin, "cividis"), CELL * scale)[: height * scale, : width * scale]
    heat = enlarge(colormap(np.sqrt(maps.probability)), scale)
    drawn = draw_points(subject.image, [], truth=truth, scale=scale, radius=4)
    found = draw_points(subject.image, output.points, scale=scale, radius=4.0 if scale == 1 else 6.0)
    pictures = [
        ("input" if truth is None else "input and labels", drawn),
        ("probability", heat),
        ("dustbin, by cell", dustbin),
        ("detections", found),
    ]
    return Output(subject, pictures, _facts(output), logits)


def shrink(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """A colour or grey image as grey levels with at most that many pixels along its longer side."""
    gray = image if image.ndim == 2 else cv2.cvtColor(to_rgb(image), cv2.COLOR_RGB2GRAY)
    scale = longest / max(gray.shape)
    if scale < 1:
        size = max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return np.asarray(gray, np.uint8)


def fit_cells(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Logits [65, Hc, Wc] of images that may differ in size, as one batch of their common upper left cells."""
    rows, columns = (min(one.shape[axis] for one in logits) for axis in (1, 2))
    return torch.stack([one[:, :rows, :columns] for one in logits])


def _facts(output: DetectorOutput) -> str:
    """One line about an image."""
    height, width = output.image.shape
    maps = output.maps
    facts = [f"{width} x {height} px", f"{len(output.points)} detections"]
    if output.labels is not None and maps.target is not None:
        labelled = int(((maps.target != DUSTBIN) & maps.valid).sum())
        if labelled == 0:
            facts.append(f"no labels; {maps.count(Verdict.FALSE)} cells with a false point")
            return "; ".join(facts)
        distance = maps.misplacement()
        by = f" (by {distance:.1f} px on average)" if math.isfinite(distance) else ""
        facts.append(
            f"of {labelled} cells with a label {maps.count(Verdict.RIGHT)} right, "
            f"{maps.count(Verdict.MISPLACED)} misplaced{by}, {maps.count(Verdict.MISSED)} missed; "
            f"{maps.count(Verdict.FALSE)} false"
        )
    return "; ".join(facts)
