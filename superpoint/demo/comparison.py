"""What the page shows: matches of two images by a network and by SIFT, and heatmaps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table

from superpoint.config import SyntheticConfig
from superpoint.config.inference import MAX_KEYPOINTS, NMS_RADIUS, THRESHOLD
from superpoint.data.bands import read_image
from superpoint.data.images import sample_photographs
from superpoint.data.synthetic.render import ShapeGenerator
from superpoint.errors import UserError
from superpoint.evaluation.extractors import describe_by_sift, opencv_extractor
from superpoint.evaluation.tables import markdown_table
from superpoint.features import Features
from superpoint.inference.detector import FeatureDetector
from superpoint.inference.images import shrink
from superpoint.inference.pictures import match_figure
from superpoint.matching import MATCHERS, THRESHOLDS, Copies, match_views
from superpoint.models.extract import dense_maps
from superpoint.visualize import Image, contact_sheet, draw_strongest, figure_to_image, probability_picture, to_gray

Pixels = NDArray[np.uint8]  # as of `read_image`
SIDE = (64, 2048)  # px, of `Settings.resize`
ORDER = ("first", "second")


@dataclass(frozen=True)
class Settings:
    """What the sliders of the page set."""

    threshold: float = THRESHOLD
    nms_radius: int = NMS_RADIUS  # px
    max_keypoints: int = MAX_KEYPOINTS
    method: str = "mutual"  # of matching, see `inference.match`
    sift: bool = True  # beside the network
    resize: int = 640  # longest side at which images are looked at, px
    views: str = "auto"  # of the search for turned and resized copies, see `matching.match_views`


@dataclass(frozen=True)
class Row:
    """Figures of an extractor; times in ms, of both images together."""

    name: str
    keypoints: tuple[int, int]
    matches: int
    inliers: int
    detection: float
    matching: float


@dataclass(frozen=True)
class Comparison:
    """Pictures uint8 [H, W, 3] and figures; `sift` is None if not asked for."""

    network: Image
    sift: Image | None
    keypoints: Image
    heatmaps: Image
    rows: tuple[Row, ...]


def read_upload(path: str | Path | None, which: str, resize: int, channels: int = 1) -> Pixels:
    """Return an uploaded file as so many channels, its longest side at most `resize` px.

    Raises: UserError, without the server's folder, if there is none or it cannot be read.
    """
    if path is None:
        raise UserError(f"{which} image: found none, expected an image file")
    try:
        image = read_image(path, channels)
    except UserError as error:
        raise UserError(f"{which} image: {str(error).replace(str(path), Path(path).name)}") from error
    return shrink(image, min(max(resize, SIDE[0]), SIDE[1]))


def example_images() -> dict[str, Image]:
    """Return images to try the page with: photographs, or drawn shapes where scikit-image is not installed."""
    try:
        found = dict(sample_photographs())
    except UserError:
        shapes = ShapeGenerator(SyntheticConfig(), 360, 480, seed=0)
        return {kind: shapes.scene(0, kind).image for kind in ("checkerboard", "cube", "star")}
    return {name: found[name] for name in ("astronaut", "coffee", "rocket") if name in found}


def compare(first: Pixels, second: Pixels, model: FeatureDetector, settings: Settings) -> Comparison:
    """Detect, match and draw; a detector without descriptors borrows SIFT's, as the row says."""
    images = (first, second)
    name = model.name if model.descriptor_dim else f"{model.name} + SIFT descriptors"
    picture, row, found = _match(name, images, lambda image: _network_features(model, image, settings), settings)
    rows, sift = [row], None
    if settings.sift:
        extract = opencv_extractor("sift", settings.max_keypoints)
        theirs = settings if settings.method in MATCHERS else replace(settings, method="mutual")
        sift, row, _ = _match("SIFT", images, lambda image: _unit(extract(to_gray(image))), theirs)
        rows.append(row)
    parts = zip(images, found, ORDER, strict=True)
    drawn = [draw_strongest(image, each.keypoints, each.scores, which) for image, each, which in parts]
    drawn, counts = zip(*drawn, strict=True)
    with torch.inference_mode():
        maps = [dense_maps(model.network, [image]).probability[0].cpu().numpy() for image in images]
    heat = [
        draw_strongest(probability_picture(image, probability), each.keypoints, each.scores, "")[0]
        for image, probability, each in zip(images, maps, found, strict=True)
    ]
    titles = [f"{which}: probability (square root), keypoints" for which in ORDER]
    sheets = contact_sheet(drawn, counts, columns=2, scores=True), contact_sheet(heat, titles, columns=2)
    return Comparison(picture, sift, *sheets, tuple(rows))


def markdown(rows: tuple[Row, ...]) -> str:
    table = Table("keypoints of")
    for heading in ("1st image", "2nd image", "matches", "inliers", "detection, ms", "matching, ms"):
        table.add_column(heading, justify="right")
    for row in rows:
        share = f" ({row.inliers / row.matches:.0%})" if row.matches else ""
        figures = (*row.keypoints, row.matches, f"{row.inliers}{share}", f"{row.detection:.0f}", f"{row.matching:.0f}")
        table.add_row(row.name.replace("|", "\\|"), *map(str, figures))
    return markdown_table(table)


def _match(
    name: str, images: tuple[Pixels, Pixels], extract: Callable[[Pixels], Features], settings: Settings
) -> tuple[Image, Row, list[Features]]:
    """Return the picture and the figures of an extractor, and what it finds in the images as they are."""
    copies = [Copies(image, extract) for image in images]
    times = [perf_counter()]
    upright = [each.features()[0] for each in copies]
    times.append(perf_counter())
    found = match_views(copies[0], copies[1], settings.views, settings.method)
    inliers, count = int(found.homography.inliers.sum()), len(found.matches)
    detection, matching = (1000 * np.diff([*times, perf_counter()])).tolist()
    threshold = THRESHOLDS["gcransac"]
    state = "no homography" if found.homography.matrix is None else f"{inliers} inliers (GC-RANSAC, {threshold:g} px)"
    turned = "" if found.view is None else ", first image turned and resized"
    title = f"{name}: {count} matches ({settings.method}{turned}), {state}"
    picture = figure_to_image(match_figure(*images, found[:3], found.homography, title))
    return picture, Row(name, (len(found[0]), len(found[1])), count, inliers, detection, matching), upright


def _network_features(model: FeatureDetector, image: Pixels, settings: Settings) -> Features:
    features = model.detect(
        image, threshold=settings.threshold, nms_radius=settings.nms_radius, max_keypoints=settings.max_keypoints
    )
    return features if features.descriptors is not None else _unit(describe_by_sift(to_gray(image), features))


def _unit(features: Features) -> Features:
    values = np.asarray(features.descriptors)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return replace(features, descriptors=values / np.maximum(lengths, 1e-12))
