"""Detectors with descriptors behind one interface: ours, the classical ones, and learned ones of kornia.

A method is named `DETECTOR` or `DETECTOR+DESCRIPTOR`:

    superpoint:SOURCE, or just SOURCE   a run folder, weights or their name
    sift, rootsift, orb, akaze          with their own descriptors
    fast, harris, shi                   detectors only
    aliked:FILE, disk:FILE, xfeat:FILE, keynet-hardnet:FILE   kornia's, with weights the user has; nothing is downloaded

+sift or +rootsift describes the points of any of them by upright SIFT descriptors of one size; detectors that have no
descriptors (and networks without a descriptor head) get +sift by themselves, and the table says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint import __version__
from superpoint.backends import make_network
from superpoint.config import DecodeConfig
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.errors import UserError
from superpoint.evaluation.classical import classical_detector
from superpoint.features import Features
from superpoint.models import load_network
from superpoint.models.decode import DECODER_VERSION
from superpoint.models.extract import AnyNetwork, features
from superpoint.models.weights import load_weights, model_hash
from superpoint.pretrained import pretrained_names

Image = NDArray[np.uint8]
Points = NDArray[np.float32]
# Points float32 [N, 2] (x, y) and scores float32 [N], strongest first; descriptors [N, D] (uint8: packed bits) or None.
Found = tuple[Points, NDArray[np.float32], NDArray[Any] | None]
Extract = Callable[[Image], Found]

BORROWED = ("sift", "rootsift")
CORNERS = ("fast", "harris", "shi")
OWN = ("sift", "rootsift", "orb", "akaze")
LEARNED = ("aliked", "disk", "xfeat", "keynet-hardnet")
NETWORK = "superpoint"
# Diameter of a borrowed descriptor's key point in pixels: its 4 x 4 bins cover 6 times as much, about 48 px.
BORROWED_SIZE = 8.0


@dataclass(frozen=True)
class Method:
    """A detector and its descriptors.

    Attributes:
        name: as in tables.
        key: all that its features depend on besides the image; equal keys make equal features.
        binary: descriptors are packed bits.
    """

    name: str
    key: str
    extract: Extract
    binary: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def __call__(self, image: Image) -> Features:
        """Features of an image uint8 [H, W], strongest first; descriptors [N, D] (of bits: their bytes).

        Rounded to float16, as the cache stores them, so that a table is the same with and without it.

        Raises: UserError if the weights are broken (not finite).
        """
        points, scores, descriptors = self.extract(image)
        if descriptors is None:
            raise ValueError(f"{self.name}: found no descriptors")
        size = (image.shape[1], image.shape[0])
        return Features(points, scores, descriptors.astype(np.float16), size)

    def descriptors(self, features: Features) -> NDArray[Any]:
        """Descriptors [N, D] for `matching`: uint8 if they are bits."""
        assert features.descriptors is not None
        return features.descriptors.astype(np.uint8) if self.binary else features.descriptors


def make_method(name: str, config: EvaluatePairsConfig, *, nms_radius: int | None = None) -> Method:
    """A method by name, see the head of this file.

    Args:
        nms_radius: in place of `config.nms_radius`.

    Raises:
        UserError: an unknown name, weights that are missing or do not fit, or something this OpenCV does not have.
    """
    radius = config.nms_radius if nms_radius is None else nms_radius
    detector, borrowed = _split(name)
    settings: dict[str, Any] = {"points": config.max_keypoints, "nms_radius": radius, "border": config.border}
    own: str | None = None
    if detector in CORNERS:
        find = classical_detector(detector, nms_radius=radius, border=config.border, max_keypoints=config.max_keypoints)
        extract: Extract = lambda image: (*find(image), None)  # noqa: E731
    elif detector in OWN:
        extract, own = OWN_EXTRACTORS[detector](config.max_keypoints), detector
        settings = {"points": config.max_keypoints}
    elif detector.partition(":")[0] in LEARNED:
        from superpoint.evaluation.learned import learned_method

        kind, _, weights = detector.partition(":")
        extract, digest = learned_method(kind, weights, config.max_keypoints, config.device)
        settings, own = {"points": config.max_keypoints, "weights": digest}, kind
    else:
        detector = detector.removeprefix(f"{NETWORK}:")
        model = load_network(detector)
        network = make_network(model, config.backend, config.precision, config.device)
        extract = network_extractor(network, config, radius)
        settings |= {"threshold": config.threshold, "network": str(network), "weights": model_hash(model)}
        own = detector if model.descriptor is not None else None
    if own is None and borrowed is None:
        borrowed = "sift"
    if borrowed is not None:
        detect, settings = extract, settings | {"size": BORROWED_SIZE}
        extract = lambda image: _described(image, *detect(image)[:2], borrowed)  # noqa: E731
    title = detector if borrowed is None else f"{detector}+{borrowed}"
    kind = detector if detector.partition(":")[0] in (*CORNERS, *OWN) else detector.partition(":")[0]
    if "weights" in settings:
        kind = "network"  # not where its weights lie: what they are
    text = f"{kind}+{borrowed} " + ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
    binary = borrowed is None and own in ("orb", "akaze")
    code = f"opencv={cv2.__version__}, superpoint={__version__}, decoder={DECODER_VERSION}"
    return Method(title, f"{text}, {code}", extract, binary, settings)


def default_methods() -> list[str]:
    """What is compared if nothing is said: a network that ships with the package, SIFT and ORB.

    Of several networks one with descriptors, then the smallest: it is to be quick on a CPU. Beside a detector alone,
    whose points get SIFT descriptors, stands Harris, described alike.
    """
    pretrained = {name: load_weights(name)[1] for name in pretrained_names()}
    if not pretrained:
        return ["harris", "sift", "orb"]
    chosen = min(pretrained, key=lambda name: (not _describes(pretrained[name]), "lite" not in name, name))
    return [chosen, "sift", "orb"] if _describes(pretrained[chosen]) else [chosen, "harris", "sift", "orb"]


def _describes(model_config: dict[str, Any]) -> bool:
    return bool(model_config.get("descriptor_dim"))


def _split(name: str) -> tuple[str, str | None]:
    detector, plus, descriptor = name.rpartition("+")
    if not plus or Path(name).exists():
        return name, None
    if descriptor not in BORROWED:
        raise UserError(f"--extractors: found '{name}', expected DETECTOR+ one of {', '.join(BORROWED)}")
    return detector, descriptor


def network_extractor(network: AnyNetwork, config: EvaluatePairsConfig, nms_radius: int) -> Extract:
    """Points of the network, and its descriptors at them if it has any: one pass."""
    decode = DecodeConfig(nms_radius, config.threshold, config.border, config.max_keypoints)

    def extract(image: Image) -> Found:
        (found,) = features(network, [image], decode)
        return found.keypoints, found.scores, found.descriptors

    return extract


def _described(image: Image, points: Points, scores: NDArray[np.float32], kind: str) -> Found:
    """SIFT descriptors at given points: upright, because a corner detector tells neither angle nor scale."""
    if not len(points):
        return points, scores, np.zeros((0, 128), np.float32)
    keys = [cv2.KeyPoint(float(x), float(y), BORROWED_SIZE, 0.0, class_id=i) for i, (x, y) in enumerate(points)]
    kept, descriptors = cv2.SIFT.create(enable_precise_upscale=True).compute(image, keys)
    order = np.array([key.class_id for key in kept], np.intp)
    values = np.asarray(descriptors, np.float32)
    return points[order], scores[order], _root(values) if kind == "rootsift" else values


def _root(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """RootSIFT: square roots of the shares of the sum. Arandjelovic and Zisserman 2012."""
    return np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12))


def _opencv(detector: Any, points: int, width: int, dtype: type) -> Extract:
    """The strongest `points` of a detector of OpenCV. All of SIFT's orientations of a place count as points."""

    def extract(image: Image) -> Found:
        keys, descriptors = detector.detectAndCompute(image, None)
        if not keys:
            return np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, width), dtype)
        places = np.asarray(cv2.KeyPoint.convert(keys), np.float32).reshape(-1, 2)
        scores = np.array([key.response for key in keys], np.float32)
        order = np.argsort(-scores, kind="stable")[:points]
        return places[order], scores[order], descriptors[order]

    return extract


def _sift(points: int) -> Extract:
    return _opencv(cv2.SIFT.create(enable_precise_upscale=True), points, 128, np.float32)


def _rootsift(points: int) -> Extract:
    sift = _sift(points)

    def extract(image: Image) -> Found:
        places, scores, descriptors = sift(image)
        assert descriptors is not None
        return places, scores, _root(descriptors)

    return extract


def _orb(points: int) -> Extract:
    """As OpenCV gives it, half-pixel bias of its pyramid included: that is what published figures measured."""
    detector = cv2.ORB.create(points)

    def extract(image: Image) -> Found:
        if min(image.shape) < 63:  # its patches leave no pixel of a smaller image, and OpenCV fails
            return np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 32), np.uint8)
        return _opencv(detector, points, 32, np.uint8)(image)

    return extract


def _akaze(points: int) -> Extract:
    make = getattr(cv2, "AKAZE", None) or getattr(getattr(cv2, "xfeatures2d", None), "AKAZE", None)
    if make is None:
        raise UserError(
            f"--extractors: found 'akaze', but OpenCV {cv2.__version__} as installed has none; "
            "expected OpenCV 4, or opencv-contrib-python-headless"
        )
    return _opencv(make.create(), points, 61, np.uint8)


OWN_EXTRACTORS: dict[str, Callable[[int], Extract]] = {
    "sift": _sift,
    "rootsift": _rootsift,
    "orb": _orb,
    "akaze": _akaze,
}
