"""Pictures of the report, and a network's output on an image."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from torch import nn

from superpoint.data.images import read_rgb
from superpoint.diagnostics.heatmaps.cell_maps import Verdict
from superpoint.diagnostics.heatmaps.detector_output import DetectorOutput, Subject, observe
from superpoint.diagnostics.report.curves import data_uri
from superpoint.errors import UserError
from superpoint.geometry.cells import CELL, DUSTBIN
from superpoint.visualize import Image, colormap, draw_keypoints, enlarge, probability_picture, to_rgb

SHOWN_WIDTH = 300  # pixels; a smaller image is enlarged to at least this


@dataclass(frozen=True)
class Picture:
    """An image, uint8 [H, W, 3]: JPEG with full colour resolution, or PNG if the quality is 0."""

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
    """Return the picture in a file, if there is one, and notes on why it cannot be shown."""
    try:
        return ([Picture(title, read_rgb(path), quality)] if path.is_file() else []), []
    except UserError as error:
        return [], [f"{error}."]


@dataclass(frozen=True)
class Output:
    """What a network makes of a subject."""

    name: str
    pictures: list[Picture]
    facts: str


def show_output(model: nn.Module, subject: Subject) -> Output:
    """Return the output of a network in evaluation mode. Raises: UserError if it is not finite."""
    height, width = subject.image.shape[:2]
    whole = np.zeros((math.ceil(height / CELL), math.ceil(width / CELL)), bool)  # without the cells that hold padding
    whole[: height // CELL, : width // CELL] = True
    output = observe(model, replace(subject, valid=whole))
    scale = math.ceil(SHOWN_WIDTH / width)
    dustbin = enlarge(colormap(output.maps.dustbin, "cividis"), CELL * scale)[: height * scale, : width * scale]
    title = "input" if output.labels is None else "input and labels"
    named = {
        title: draw_keypoints(subject.image, [], truth=output.labels, scale=scale, radius=4),
        "probability": probability_picture(subject.image, output.maps.probability, scale),
        "dustbin, by cell": dustbin,
        "detections": draw_keypoints(subject.image, output.points, output.scores, scale=scale, radius=5),
    }
    pictures = [Picture(*one) for one in named.items()]
    return Output(subject.name, pictures, _facts(output))


def _facts(output: DetectorOutput) -> str:
    height, width = output.image.shape
    maps = output.maps
    facts = f"{width} x {height} px; {len(output.points)} detections"
    if maps.target is None:
        return facts
    right, missed, false, misplaced = map(maps.count, Verdict)
    labelled = int(((maps.target != DUSTBIN) & maps.valid).sum())
    if labelled == 0:
        return f"{facts}; no labels; {false} cells with a false detection"
    by = f" (by {maps.misplacement():.1f} px on average)" if misplaced else ""
    verdicts = f"{right} right, {misplaced} misplaced{by}, {missed} missed"
    return f"{facts}; of {labelled} cells with a label {verdicts}; {false} false"
