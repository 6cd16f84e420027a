"""Validation of a joint training: matching and homography estimation on generated pairs that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import default_collate

from superpoint.config import DecodeConfig, SuperPointConfig
from superpoint.config.evaluation import REPEATABILITY_NMS
from superpoint.config.inference import NMS_RADIUS
from superpoint.data.pairs import KINDS, Pair, generated_pair
from superpoint.data.synthetic import ShapeGenerator
from superpoint.data.training_set import held_out_pairs, held_out_source, training_pairs
from superpoint.data.warped_pairs import SyntheticScenes
from superpoint.evaluation.classical import suppress
from superpoint.evaluation.evaluate_repeatability import HOMOGRAPHY, PHOTOMETRIC
from superpoint.evaluation.pairs import area_under_curve, corner_error, correctness, match_errors, matching_accuracy
from superpoint.evaluation.repeatability import RepeatabilityProtocol, repeatability
from superpoint.matching import compare_descriptors, fit_homography, match_compared
from superpoint.models.extract import features
from superpoint.training.detector_validation import DetectorValidation
from superpoint.training.objectives import joint_objective
from superpoint.visualize import GREEN, VERMILION, contact_sheet, to_rgb

BATCH = 8  # images that go through the network together
THRESHOLD = 1e-3  # so low that the wanted number of points is found nearly everywhere; the strongest are compared
BORDER = 4  # pixels
EPS = (1.0, 3.0, 5.0)  # pixels, of matches and of corner errors
LOSS_PAIRS = 16  # training pairs of held-out photographs that the loss is taken on
SHOWN = 4  # pairs in the picture
FEW = 4  # photographs: figures on pairs of fewer say more about these than about the network

Image = NDArray[np.uint8]
Features = tuple[NDArray[np.float32], NDArray[np.float32]]  # points [N, 2] (x, y), strongest first; descriptors [N, D]
Describe = Callable[[Sequence[Image]], Iterable[Features]]


@dataclass(frozen=True)
class PairResult:
    """What matching found on one pair; all distances in pixels of the second view."""

    kind: str
    errors: NDArray[np.float64]  # [K], of the mutual nearest neighbours
    pairs: NDArray[np.int64]  # [K, 2]
    corner: float  # mean error of the frame's corners under the estimated homography
    repeated: dict[float, float]  # repeatability by eps
    localisation: float  # mean distance of points repeated within 3 px


class PairValidation:
    """Homography estimation on pairs of held-out photographs, or of unseen scenes; called with the averaged model.

    "pairs/auc@5", the area under the curve of homography correctness up to 5 px, selects the best checkpoint, not the
    loss: a descriptor loss goes on falling long after matching has stopped to improve. "loss" and the figures of
    the objective are those of held-out training pairs, beside the training loss they show overfitting; what
    `DetectorValidation` measures is reported too.

    With `data.overfit` the objective's figures of the very pairs that are overfitted; "matching_accuracy" selects the
    best checkpoint.
    """

    def __init__(self, config: SuperPointConfig) -> None:
        data, validation = config.data, config.validation
        self.points = validation.max_keypoints
        self.objective = joint_objective(config)
        self.detector: DetectorValidation | None = None
        self.pairs: list[tuple[str, Pair]] = []
        if data.overfit:
            samples = training_pairs(data, config.seed)
        else:
            samples = held_out_pairs(data, validation.seed)
            self.detector = DetectorValidation(config)
            self.pairs = validation_pairs(config, validation.pairs, validation.seed)
        numbers = list(range(data.overfit or LOSS_PAIRS))
        self.batches = [
            default_collate([samples[index] for index in numbers[start : start + BATCH]])
            for start in range(0, len(numbers), BATCH)
        ]

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        found = self._objective(model)
        if self.detector is None:
            return found | {"selected_by": "matching_accuracy"}
        metrics: dict[str, Any] = {**self.detector(model), **found}
        views = describe_pairs(network_describer(model, self.points), self.pairs)
        results = [measure_pair(*pair, *both) for pair, both in zip(self.pairs, views, strict=True)]
        metrics |= pair_metrics(results)
        pictures = metrics.pop("images") | {"matches": matches_picture(self.pairs, views, results)}
        return metrics | {"selected_by": "pairs/auc@5", "images": pictures}

    def _objective(self, model: nn.Module) -> dict[str, float]:
        """What the objective returns, mean over the batches by their weight."""
        device = next(model.parameters()).device
        found = [
            self.objective(model, {key: value.to(device) for key, value in batch.items()}) for batch in self.batches
        ]
        weights = [float(one["weight"]) for one in found]
        total = sum(weights) or 1.0
        return {
            key: sum(float(one[key]) * weight for one, weight in zip(found, weights, strict=True)) / total
            for key in found[0]
            if key != "weight"
        }


def too_few(photographs: int, key: str) -> str:
    """What to say of figures on pairs of so few held-out photographs, empty if they suffice; `key` holds out more."""
    if photographs >= FEW:
        return ""
    return (
        f"Too few photographs held out to judge ({photographs}), expected at least {FEW}: take more photographs, or "
        f"raise {key}."
    )


def validation_pairs(config: SuperPointConfig, count: int, seed: int) -> list[tuple[str, Pair]]:
    """`count` generated pairs with their kind, the kinds in turn, of held-out photographs in even steps through them.

    Of data.kind=synthetic: of scenes that `seed` draws.
    """
    size = config.validation.height, config.validation.width
    if config.data.kind == "labelled":
        source = held_out_source(config.data)
    else:
        source = SyntheticScenes(ShapeGenerator(config.data.synthetic, *size, seed))
    images = -(-count // len(KINDS))  # asked for
    step = max(1.0, min(len(source), 2**20) / images) if config.data.kind == "labelled" else 1.0
    pairs = []
    for index in range(count):
        place = int(index // len(KINDS) * step) % len(source)
        kind, turn = KINDS[index % len(KINDS)], int(index // len(KINDS) * step) // len(source)
        ranges = {"homography": HOMOGRAPHY, "photometric": PHOTOMETRIC}
        image = source[place][0]
        pairs.append((kind, generated_pair(image, str(place), turn, kind=kind, size=size, seed=seed, **ranges)))
    return pairs


def network_describer(model: nn.Module, most: int) -> Describe:
    """`model` as a function of images of one size; without a descriptor head the descriptors say nothing."""
    decode = DecodeConfig(NMS_RADIUS, THRESHOLD, BORDER, most)

    def describe(images: Sequence[Image]) -> Iterator[Features]:
        for start in range(0, len(images), BATCH):
            for found in features(model, images[start : start + BATCH], decode):
                described = found.descriptors
                yield found.keypoints, np.ones((len(found), 1), np.float32) if described is None else described

    return describe


def sift_describer(most: int) -> Describe:
    """SIFT (Lowe 2004), the row to compare with."""
    sift = cv2.SIFT.create(nfeatures=most, enable_precise_upscale=True)

    def describe(images: Sequence[Image]) -> Iterator[Features]:
        for image in images:
            keys, descriptors = sift.detectAndCompute(image, None)  # pyright: ignore[reportCallIssue, reportArgumentType]
            order = np.argsort([-key.response for key in keys], kind="stable")[:most]
            points = np.asarray(cv2.KeyPoint.convert(keys), np.float32).reshape(-1, 2)
            values = np.zeros((0, 128), np.float32) if descriptors is None else np.asarray(descriptors, np.float32)
            yield points[order], values[order]

    return describe


def describe_pairs(describe: Describe, pairs: Sequence[tuple[str, Pair]]) -> list[tuple[Features, Features]]:
    """Features of both views of each pair."""
    views = list(describe([image for _, pair in pairs for image in (pair.image_a, pair.image_b)]))
    return list(zip(views[::2], views[1::2], strict=True))


def measure_pair(kind: str, pair: Pair, first: Features, second: Features) -> PairResult:
    """Mutual nearest neighbours, the homography of RANSAC 3 px from them; repeatability of the 300 strongest points
    that are left of either view by a suppression at 4 px, the same for every method.
    """
    matches = match_compared(compare_descriptors(first[1], second[1])).indices
    matched = first[0][matches[:, 0]], second[0][matches[:, 1]]
    sizes = pair.image_a.shape[:2], pair.image_b.shape[:2]
    apart_a, apart_b = (
        suppress(points, -np.arange(len(points), dtype=np.float32), REPEATABILITY_NMS)[0]
        for points, _ in (first, second)
    )
    found = {
        eps: repeatability(apart_a, apart_b, pair.h_a_b, *sizes, RepeatabilityProtocol(eps=eps)) for eps in (1.0, 3.0)
    }
    return PairResult(
        kind,
        match_errors(*matched, pair.h_a_b),
        matches,
        corner_error(fit_homography(*matched, "ransac").matrix, pair.h_a_b, sizes[0]),
        {eps: one.share for eps, one in found.items()},
        found[3.0].error,
    )


def pair_metrics(results: Sequence[PairResult]) -> dict[str, float]:
    """Means over all pairs ("pairs/...") and over those of each kind: mma@1, 3, 5 (share of the matches within that
    many pixels), correct@1, 3, 5 (share of the homographies), auc@5 of these, repeatability@1, 3, localisation, and
    the number of matches.
    """
    metrics: dict[str, float] = {}
    for name in ("pairs", *KINDS):
        chosen = [one for one in results if name in ("pairs", one.kind)]
        if not chosen:
            continue
        accuracy = np.mean([matching_accuracy(one.errors, EPS) for one in chosen], axis=0)
        corners = [one.corner for one in chosen]
        found = {f"mma@{eps:g}": float(value) for eps, value in zip(EPS, accuracy, strict=True)}
        found |= {f"correct@{eps:g}": correctness(corners, eps) for eps in EPS}
        found["auc@5"] = area_under_curve(corners, 5.0)
        for eps in (1.0, 3.0):
            found[f"repeatability@{eps:g}"] = _mean([one.repeated[eps] for one in chosen])
        found["localisation"] = _mean([one.localisation for one in chosen])
        found["matches"] = float(np.mean([len(one.pairs) for one in chosen]))
        metrics |= {f"{name}/{key}": value for key, value in found.items()}
    return metrics


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else 0.0


def matches_picture(
    pairs: Sequence[tuple[str, Pair]],
    features: Sequence[tuple[Features, Features]],
    results: Sequence[PairResult],
    shown: int = SHOWN,
) -> Image:
    """The first pairs of another viewpoint with their matches: green lines are right within 3 px, orange dots wrong."""
    pictures, titles = [], []
    for (kind, pair), views, result in zip(pairs, features, results, strict=True):
        if kind != KINDS[0] or len(pictures) == shown:
            continue
        canvas = np.concatenate([to_rgb(pair.image_a), to_rgb(pair.image_b)], axis=1)
        shift = np.array([pair.image_a.shape[1], 0])
        for (a, b), error in zip(result.pairs, result.errors, strict=True):
            ends = [np.rint(views[0][0][a]).astype(int), np.rint(views[1][0][b] + shift).astype(int)]
            if error <= 3:
                cv2.line(canvas, ends[0].tolist(), ends[1].tolist(), GREEN, 1, cv2.LINE_AA)
            else:
                for end in ends:
                    cv2.circle(canvas, end.tolist(), 2, VERMILION, -1, cv2.LINE_AA)
        right = int((result.errors <= 3).sum())
        titles.append(
            f"{right} of {len(result.errors)} matches within 3 px (lines); corners off by {result.corner:.1f} px"
        )
        pictures.append(canvas)
    return contact_sheet(pictures, titles, columns=2)
