"""Extractors by name: ours and the classical ones; each a function image -> Features.

    superpoint:SOURCE, or just SOURCE   a run folder, weights or their name
    adapted:SOURCE                      its labels by homographic adaptation, without descriptors
    sift, rootsift, orb                 with their own descriptors
    fast, harris, shi                   detectors only
    random                              what chance gives

+sift or +rootsift describes the keypoints of any of them by upright SIFT descriptors of one size; what has no
descriptors gets +sift by itself where descriptors are needed, and the table says so.

+views at the end, in `evaluate pairs`: where upright matching finds too little, turned and resized copies of the images
are tried, see `matching.views`; the features are those of the view that is found.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint import __version__
from superpoint.backends import make_network
from superpoint.config import AdaptationConfig, DecodeConfig
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.errors import UserError, did_you_mean
from superpoint.evaluation.classical import CLASSICAL, classical_detector
from superpoint.evaluation.views import content_hash
from superpoint.features import Features
from superpoint.labelling import HomographicAdaptation
from superpoint.models import load_network
from superpoint.models.decode import DECODER_VERSION
from superpoint.models.extract import AnyNetwork, features
from superpoint.models.weights import model_hash
from superpoint.visualize import to_gray

Image = NDArray[np.uint8]
Extract = Callable[[Image], Features]

BORROWED = ("sift", "rootsift")
OWN = ("sift", "rootsift", "orb")
CORNERS = tuple(name for name in CLASSICAL if name not in OWN)
NETWORK, ADAPTED, RANDOM = "superpoint:", "adapted:", "random"
# Diameter of a borrowed descriptor's key point in pixels: its 4 x 4 bins cover 6 times as much, about 48 px.
BORROWED_SIZE = 8.0


@dataclass(frozen=True)
class Extractor:
    """Image uint8 [H, W] or [H, W, C] -> Features, strongest first.

    Descriptors are rounded to float16, as the cache stores them, so that a table is the same with and without it.

    Attributes:
        name: as in tables.
        key: all that its features depend on besides the image; equal keys make equal features.
        channels: of the images it looks at, the first of more; 1 = grey, of several channels their mean.
    """

    name: str
    key: str
    extract: Extract
    channels: int = 1

    @property
    def classical(self) -> bool:
        """Tell whether its descriptors are those of SIFT, RootSIFT or ORB."""
        return self.name.rpartition("+")[2] in OWN

    def __call__(self, image: Image) -> Features:
        """Extract features. Raises: UserError if the weights are broken (not finite)."""
        found = self.extract(to_gray(image) if self.channels == 1 else image[:, :, : self.channels])
        rounded = None if found.descriptors is None else found.descriptors.astype(np.float16)
        return replace(found, descriptors=rounded)


def make_extractor(
    name: str,
    config: EvaluatePairsConfig,
    *,
    nms_radius: int | None = None,
    describe: bool = True,
    homographies: int = 100,
) -> Extractor:
    """Make an extractor by name, see the head of this file.

    Args:
        nms_radius: in place of `config.nms_radius`.
        describe: False = keypoints alone; those of SIFT and ORB then get the same suppression as a network's.
        homographies: views of homographic adaptation, which depend on the content of the image.

    Raises:
        UserError: an unknown name, weights that are missing or do not fit, or something this OpenCV does not have.
    """
    radius = config.nms_radius if nms_radius is None else nms_radius
    detector, borrowed = _split(name)
    kind = detector
    count, described, channels = config.max_keypoints, True, 1
    settings: dict[str, Any] = {"points": count}
    placed: dict[str, Any] = {"nms_radius": radius, "border": config.border}
    if detector in CORNERS or (detector in CLASSICAL and not describe):
        extract = classical_detector(detector, max_keypoints=count, **placed)
        settings, described = settings | placed, False
    elif detector == RANDOM:
        extract, described = partial(_random, count), False
    elif detector in OWN:
        extract = opencv_extractor(detector, count)
    else:
        detector = detector.removeprefix(NETWORK)
        source = detector.removeprefix(ADAPTED)
        try:
            model = load_network(source)
        except UserError as error:
            if Path(source).exists():
                raise
            raise UserError(f"{error}, or {', '.join(CLASSICAL)}{did_you_mean(source, CLASSICAL)}") from error
        channels = model.channels
        network = make_network(model, config.backend, config.precision, config.device)
        decode = DecodeConfig(radius, config.threshold, config.border, count)
        settings |= placed | {"threshold": config.threshold, "network": str(network), "weights": model_hash(model)}
        extract, described = network_extractor(network, decode), model.descriptor is not None
        kind = "network"  # not where its weights lie: what they are
        if detector.startswith(ADAPTED):
            adapt = HomographicAdaptation(network, AdaptationConfig(homographies=homographies), decode, network.device)
            extract, described = lambda image: adapt(image, content_hash(image)), False
            kind = f"adapted {homographies}"
    if describe and not described and borrowed is None:
        borrowed = "sift"
    if borrowed is not None:
        settings["size"] = BORROWED_SIZE

    def complete(image: Image) -> Features:
        found = extract(image)
        if borrowed is not None:
            found = describe_by_sift(to_gray(image), found, root=borrowed == "rootsift")
        return found if describe else replace(found, descriptors=None)

    title = detector if borrowed is None else f"{detector}+{borrowed}"
    text = f"{kind}+{borrowed} {describe} " + ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
    code = f"opencv={cv2.__version__}, superpoint={__version__}, decoder={DECODER_VERSION}"
    return Extractor(title, f"{text}, {code}", complete, channels)


def _split(name: str) -> tuple[str, str | None]:
    detector, plus, descriptor = name.rpartition("+")
    if not plus or Path(name).exists():
        return name, None
    if descriptor not in BORROWED:
        raise UserError(f"--extractors: found '{name}', expected DETECTOR+ one of {', '.join(BORROWED)}")
    return detector, descriptor


def network_extractor(network: AnyNetwork, decode: DecodeConfig) -> Extract:
    """Return the function image -> keypoints of a network, with descriptors if it has any."""
    return lambda image: features(network, [image], decode)[0]


def _random(count: int, image: Image) -> Features:
    height, width = image.shape
    rng = np.random.Generator(np.random.SFC64(zlib.crc32(image.tobytes())))
    points = rng.uniform((4, 4), np.maximum((width - 5, height - 5), 4), (1000, 2))
    return Features(points[:count], image_size=(width, height))


def describe_by_sift(image: Image, found: Features, *, root: bool = False) -> Features:
    """Describe keypoints by SIFT: upright, because a corner detector tells neither angle nor scale."""
    places = enumerate(found.keypoints.tolist())
    keys = [cv2.KeyPoint(x, y, BORROWED_SIZE, 0.0, class_id=index) for index, (x, y) in places]
    kept, values = cv2.SIFT.create(enable_precise_upscale=True).compute(image, keys) if keys else ([], None)
    order = np.array([key.class_id for key in kept], np.intp)
    descriptors = np.zeros((0, 128), np.float32) if values is None else np.asarray(values, np.float32)
    return replace(found.take(order), descriptors=_root(descriptors) if root else descriptors, network="sift")


def _root(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """RootSIFT: square roots of the shares of the sum. Arandjelovic and Zisserman 2012."""
    return np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12))


def opencv_extractor(name: str, count: int) -> Extract:
    """Return the strongest `count` features of a detector with descriptors of its own (`OWN`).

    Each of SIFT's orientations counts as a keypoint. ORB keeps OpenCV's half-pixel bias, as in published figures. Bits
    become +-1, so that dot products order as Hamming distances do.
    """
    detector = _opencv_detector(name, count)

    def extract(image: Image) -> Features:
        keys: Any = ()
        values: Any = None
        if name != "orb" or min(image.shape) >= 63:  # ORB's patches leave no pixel of a smaller image: OpenCV fails
            keys, values = detector.detectAndCompute(image, None)
        if values is None:
            values = np.zeros((0, detector.descriptorSize()), np.float32 if name in BORROWED else np.uint8)
        if values.dtype == np.uint8:
            values = np.unpackbits(values, axis=1).astype(np.float32) * 2 - 1
        scores = np.array([key.response for key in keys], np.float32)
        order = np.argsort(-scores, kind="stable")[:count]
        points = np.asarray(cv2.KeyPoint.convert(keys), np.float32).reshape(-1, 2)
        values = _root(values[order]) if name == "rootsift" else values[order]
        return Features(points[order], scores[order], values, (image.shape[1], image.shape[0]))

    return extract


def _opencv_detector(name: str, count: int) -> Any:
    if name in BORROWED:
        return cv2.SIFT.create(enable_precise_upscale=True)
    return cv2.ORB.create(count)
