"""Pictures of the report: what the network says about a few images, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from superpoint.data.images import read_rgb
from superpoint.diagnostics.heatmaps.cell_maps import Verdict
from superpoint.diagnostics.heatmaps.detector_output import DetectorOutput, measure_output
from superpoint.diagnostics.report.curves import data_uri
from superpoint.errors import UserError
from superpoint.geometry.cells import CELL, DUSTBIN, valid_cells
from superpoint.models.decode import pad_to_multiple
from superpoint.visualize import Image, colormap, draw_points, enlarge, to_rgb

SHOWN_WIDTH = 300  # pixels; a smaller image is enlarged to at least this


@dataclass(frozen=True)
class Picture:
    """An image on the page, uint8 [H, W, 3]: JPEG with full colour resolution, or PNG if the quality is 0."""

    title: str
    image: Image
    quality: int = 90

    @property
    def height(self) -> int:
        return self.image.shape[0]

    @property
    def width(self) -> int:
        return self.image.shape[1]

    @property
    def uri(self) -> str:
        pixels = cv2.cvtColor(to_rgb(self.image), cv2.COLOR_RGB2BGR)
        if self.quality == 0:
            return data_uri(cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes(), "image/png")
        settings = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        return data_uri(cv2.imencode(".jpg", pixels, settings)[1].tobytes(), "image/jpeg")


def read_picture(path: Path, title: str, quality: int = 0) -> tuple[list[Picture], list[str]]:
    """Return the picture that another stage has written, if there is one, and why it cannot be shown."""
    try:
        return ([Picture(title, read_rgb(path), quality=quality)] if path.is_file() else []), []
    except UserError as error:
        return [], [f"{error}."]


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
        pictures: input, probability, dustbin, detections.
        facts: one line of figures.
        logits: float32 [65, Hc, Wc].
    """

    subject: Subject
    pictures: list[Picture]
    facts: str
    logits: torch.Tensor


@dataclass(frozen=True)
class DescriptorPictures:
    """What the network makes of some training pairs.

    Attributes:
        positive, negative: cosine similarities of correspondences, and of keypoints that do not correspond.
        pictures: pairs with their matches.
        notes: why something is not here.
    """

    positive: NDArray[np.floating] = field(default_factory=lambda: np.zeros(0))
    negative: NDArray[np.floating] = field(default_factory=lambda: np.zeros(0))
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class RunPictures:
    """Attributes:
    weights: which weights made the outputs, in words.
    outputs: by subject.
    statistics: `evaluation.statistics.output_statistics` by group of subjects ("synthetic scenes", "photographs").
    samples: training samples with their labels.
    notes: why something is not here.
    descriptors: of a run that trains them, what they make of training pairs.
    """

    weights: str = ""
    outputs: Sequence[Output] = ()
    statistics: dict[str, dict[str, float]] = field(default_factory=dict)
    samples: Sequence[Picture] = ()
    notes: Sequence[str] = ()
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
    named = {
        "input" if truth is None else "input and labels": drawn,
        "probability": heat,
        "dustbin, by cell": dustbin,
        "detections": found,
    }
    pictures = [Picture(kind, image) for kind, image in named.items()]
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
