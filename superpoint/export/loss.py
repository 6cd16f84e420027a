"""What numbers of fewer bits lose and gain: photographs to calibrate with, others to measure on."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from superpoint.config import DecodeConfig
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.pairs import ViewPair
from superpoint.engine.display import watch
from superpoint.evaluation.pair_metrics import measure_pair
from superpoint.evaluation.views import find_jobs
from superpoint.geometry.cells import image_tensor
from superpoint.labelling import agreement
from superpoint.models.extract import AnyNetwork, features

PHOTOGRAPHS = 60  # at most; every HELD_OUT-th is measured on, the others calibrate
HELD_OUT = 3
SIZE = (480, 640)  # (height, width) where a graph takes any
EPS = 3  # px, of MMA
PAUSE = 0.02  # seconds: torch's threads spin after an operation, and would slow down whatever comes next


class Loss(NamedTuple):
    """Share of keypoints within 1 px of the first network's, MMA@3, median milliseconds of an image."""

    within: float
    mma: float
    milliseconds: float


def photograph_pairs(
    folder: str | None, channels: int = 1, size: Sequence[int] | None = None
) -> tuple[list[ViewPair], list[ViewPair]]:
    """Return generated pairs (two kinds per photograph) of photographs to calibrate with, and of others to measure on.

    One photograph alone serves both. Folder None: those of scikit-image.

    Raises: UserError for a photograph that cannot be read, or if there is none.
    """
    config = EvaluatePairsConfig(generated_size=list(size or SIZE), generated_pairs=1, limit=PHOTOGRAPHS)
    pairs = [job.load() for job in find_jobs(config, None, folder, channels=channels)[0]]
    held_out = set(list(dict.fromkeys(pair.sequence for pair in pairs))[::HELD_OUT])
    measured = [pair for pair in pairs if pair.sequence in held_out]
    return [pair for pair in pairs if pair.sequence not in held_out] or pairs, measured


def views(pair: ViewPair) -> list[Tensor]:
    """Return both views, float32 [1, C, H, W], 0..1."""
    return [image_tensor([image]).float() / 255 for image in (pair.image_a, pair.image_b)]


def calibration_images(pairs: Sequence[ViewPair]) -> list[NDArray[np.float32]]:
    return [view.numpy() for pair in pairs for view in views(pair)]


def measure_losses(networks: Mapping[str, AnyNetwork], pairs: Sequence[ViewPair]) -> dict[str, Loss]:
    """Measure networks; all take their turn at each image, so that other load on the machine meets all alike."""
    protocol = EvaluatePairsConfig()
    decode = DecodeConfig(protocol.nms_radius, protocol.threshold, protocol.border, protocol.max_keypoints)
    within, accuracy, times = (defaultdict[str, list[float]](list) for _ in range(3))
    for pair in watch(pairs, "pairs"):
        first = None
        for name, network in networks.items():
            a, b = (features(_timed(network, times[name]), view, decode)[0] for view in views(pair))
            first = first or (a, b)
            accuracy[name].append(measure_pair(name, pair, a, b, protocol, estimators=()).mma[EPS - 1])
            within[name] += [agreement(x.keypoints, y.keypoints, 1.0) for x, y in zip(first, (a, b), strict=True)]
    return {
        name: Loss(float(np.mean(within[name])), float(np.mean(accuracy[name])), float(np.median(times[name]) * 1e3))
        for name in networks
    }


def _timed(network: AnyNetwork, times: list[float]) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return the network for one image, which a file of a fixed batch gets several times over."""
    batch = (getattr(network, "shape", None) or [1])[0]

    def run(image: Tensor) -> dict[str, Tensor]:
        image = image.expand(batch, -1, -1, -1).contiguous()
        time.sleep(PAUSE)
        start = time.perf_counter()
        output = network(image)
        times.append((time.perf_counter() - start) / batch)
        return {name: values[:1].clone() for name, values in output.items()}

    return run
