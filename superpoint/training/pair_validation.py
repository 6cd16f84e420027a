"""Validation of a joint training: matching and homography estimation on unseen generated pairs."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import default_collate

from superpoint.config import DecodeConfig, SuperPointConfig
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.pairs import KINDS, ViewPair, generated_pair
from superpoint.data.synthetic import ShapeGenerator
from superpoint.data.training_set import held_out_pairs, held_out_source, training_pairs
from superpoint.data.warped_pairs import SyntheticScenes
from superpoint.evaluation.pair_metrics import PairRecord, figures, match_pair, measure_pair
from superpoint.evaluation.pairs import corner_error, match_errors
from superpoint.evaluation.views import within
from superpoint.features import Features
from superpoint.models.extract import features
from superpoint.training.detector_validation import DetectorValidation
from superpoint.training.objectives import joint_objective, weighted_means
from superpoint.visualize import contact_sheet, draw_matches, to_rgb, with_match_legend

BATCH = 8  # images that go through the network together
THRESHOLD = 1e-3  # so low that the wanted number of keypoints is found nearly everywhere; the strongest are compared
ESTIMATOR = "ransac"
LOSS_PAIRS = 16  # training pairs of held-out photographs that the loss is taken on
SHOWN, DRAWN = 4, 60  # pairs in the picture, and matches of each in even steps: more would hide the photograph
FEW = 4  # photographs: figures on pairs of fewer say more about these than about the network
FIGURES = {  # of a log -> of `pair_metrics.figures`
    **{f"mma@{eps}": f"mma_{eps}" for eps in (1, 3, 5)},
    **{f"correct@{eps}": f"{ESTIMATOR}_{eps}" for eps in (1, 3, 5)},
    "auc@5": f"{ESTIMATOR}_auc_5",
    "repeatability@1": "repeatability_1",
    "repeatability@3": "repeatability_3",
    "localisation": "localisation",
    "matches": "matches",
}

Both = tuple[Features, Features]  # of the two views of a pair


class PairValidation:
    """Homography estimation on pairs of held-out photographs or unseen scenes; called with the averaged model.

    "pairs/auc@5" selects the best checkpoint: a descriptor loss falls long after matching has stopped improving.
    The objective's figures on held-out training pairs, and those of `DetectorValidation`, are reported too.

    With `data.overfit`: the objective's figures on the overfitted pairs; "matching_accuracy" selects.
    """

    def __init__(self, config: SuperPointConfig) -> None:
        data, validation = config.data, config.validation
        self.protocol = protocol(config)
        self.objective = joint_objective(config)
        self.detector: DetectorValidation | None = None
        self.pairs: list[ViewPair] = []
        if data.overfit:
            samples = training_pairs(data, config.seed, config.model.channels)
        else:
            samples = held_out_pairs(data, validation.seed, config.model.channels)
            self.detector = DetectorValidation(config)
            self.pairs = validation_pairs(config, validation.pairs, validation.seed)
        numbers = list(range(data.overfit or LOSS_PAIRS))
        self.batches = [
            default_collate([samples[index] for index in numbers[start : start + BATCH]])
            for start in range(0, len(numbers), BATCH)
        ]

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        device = next(model.parameters()).device
        batches = [{key: value.to(device) for key, value in batch.items()} for batch in self.batches]
        losses = weighted_means([self.objective(model, batch) for batch in batches])
        if self.detector is None:
            return losses | {"selected_by": "matching_accuracy"}
        metrics: dict[str, Any] = {**self.detector(model), **losses}
        found = network_features(model, self.pairs, self.protocol)
        metrics |= pair_metrics(measure_pairs(self.pairs, found, self.protocol))
        pictures = metrics.pop("images") | {"matches": matches_picture(self.pairs, found, self.protocol)}
        return metrics | {"selected_by": "pairs/auc@5", "images": pictures}


def too_few(photographs: int, key: str) -> str:
    """Return a warning about figures on so few held-out photographs, empty if they suffice; `key` holds out more."""
    if photographs >= FEW:
        return ""
    return (
        f"Too few photographs held out to judge ({photographs}), expected at least {FEW}: take more photographs, or "
        f"raise {key}."
    )


def protocol(config: SuperPointConfig) -> EvaluatePairsConfig:
    """Return the protocol: the defaults of `evaluate pairs`, with the run's number of keypoints."""
    return EvaluatePairsConfig(max_keypoints=config.validation.max_keypoints, threshold=THRESHOLD)


def validation_pairs(config: SuperPointConfig, count: int, seed: int) -> list[ViewPair]:
    """Return `count` generated pairs, the kinds in turn, of held-out photographs, or of synthetic scenes."""
    size = config.validation.height, config.validation.width
    labelled = config.data.kind == "labelled"
    if labelled:
        source = held_out_source(config.data, config.model.channels)
    else:
        source = SyntheticScenes(ShapeGenerator(config.data.synthetic, *size, seed, config.model.channels))
    images = -(-count // len(KINDS))  # asked for
    step = max(1.0, min(len(source), 2**20) / images) if labelled else 1.0
    pairs = []
    for index in range(count):
        turn, place = divmod(int(index // len(KINDS) * step), len(source))
        photograph, _, mask = source[place]
        pairs.append(generated_pair(photograph, str(place), turn, KINDS[index % len(KINDS)], size, seed, mask))
    return pairs


def network_features(model: nn.Module, pairs: Sequence[ViewPair], protocol: EvaluatePairsConfig) -> list[Both]:
    """Return the features of both views of pairs of one size."""
    decode = DecodeConfig(protocol.nms_radius, protocol.threshold, protocol.border, protocol.max_keypoints)
    images = [image for pair in pairs for image in (pair.image_a, pair.image_b)]
    batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
    found = [each for batch in batches for each in features(model, batch, decode)]
    views = zip(pairs, found[::2], found[1::2], strict=True)
    return [(within(a, pair.valid_a), within(b, pair.valid_b)) for pair, a, b in views]


def measure_pairs(pairs: Iterable[ViewPair], found: Sequence[Both], protocol: EvaluatePairsConfig) -> list[PairRecord]:
    """Return the figures of each pair."""
    return [
        measure_pair("", pair, *both, protocol, estimators=[ESTIMATOR]) for pair, both in zip(pairs, found, strict=True)
    ]


def pair_metrics(records: Sequence[PairRecord]) -> dict[str, float]:
    """Return the means of FIGURES over all pairs ("pairs/...") and over each kind.

    0 where undefined, for nothing was found; a localisation error of nothing is left out instead.
    """
    metrics: dict[str, float] = {}
    for name in ("pairs", *KINDS):
        chosen = [each for each in records if name in ("pairs", each.change)]
        values = figures(chosen) if chosen else {}
        for key, figure in FIGURES.items() if chosen else ():
            known = values[figure][np.isfinite(values[figure])]
            if known.size or key != "localisation":
                metrics[f"{name}/{key}"] = float(known.mean()) if known.size else 0.0
    return metrics


def per_photograph(records: Sequence[PairRecord], columns: Iterable[str]) -> dict[str, list[float | None]]:
    """Return each of `columns` (FIGURES) as a mean over the pairs of a photograph, in order; None if undefined."""
    found: dict[str, list[float | None]] = {column: [] for column in columns}
    for name in dict.fromkeys(each.sequence for each in records):
        values = figures([each for each in records if each.sequence == name])
        for column, means in found.items():
            known = values[FIGURES[column]][np.isfinite(values[FIGURES[column]])]
            means.append(float(known.mean()) if known.size else None)
    return found


def matches_picture(
    pairs: Sequence[ViewPair], found: Sequence[Both], protocol: EvaluatePairsConfig, heading: str = ""
) -> NDArray[np.uint8]:
    """Draw the first pairs of another viewpoint: green lines join matches right within 3 px, orange dots are wrong.

    With a heading the pairs stand below each other, so that two such pictures can be compared side by side.
    """
    pictures, titles = [], []
    chosen = [each for each in zip(pairs, found, strict=True) if each[0].change == KINDS[0]]
    for pair, (a, b) in chosen[:SHOWN]:
        _, matches, estimates = match_pair(a, b, protocol, [ESTIMATOR])
        start, end = a.keypoints[matches.indices[:, 0]], b.keypoints[matches.indices[:, 1]]
        right = match_errors(start, end, pair.h_a_b) <= 3
        canvas = np.concatenate([to_rgb(pair.image_a), to_rgb(pair.image_b)], axis=1)
        few = np.linspace(0, len(right) - 1, min(DRAWN, len(right))).astype(int)
        draw_matches(canvas, start[few], end[few] + np.array([pair.image_a.shape[1], 0]), right[few])
        corner = corner_error(estimates[ESTIMATOR][0].matrix, pair.h_a_b, pair.image_a.shape[:2])
        titles.append(f"{right.sum()} of {len(right)} matches within 3 px; corners off by {corner:.1f} px")
        pictures.append(canvas)
    return with_match_legend(contact_sheet(pictures, titles, columns=1 if heading else 2), heading)
