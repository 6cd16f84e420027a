"""Views of photographs as a matcher sees them: features, extracted once into HDF5, and pairs of them with their truth.

    python.jpg/000 ... python.jpg/011    groups of `data.feature_file`, with "warp": from the photograph to the view

The header names the network ("model", its hash) and the settings. An extraction that is stopped or killed goes on where
it was; a kill costs the PART photographs in progress.
"""

import json
import sys
import zlib
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from superpoint.budget import LABEL_SHARE, Budget
from superpoint.config import DecodeConfig
from superpoint.data.feature_file import FeatureFile, check_features
from superpoint.data.labelled import epoch_order
from superpoint.data.sources.archives import NamedImages
from superpoint.data.sources.source import open_source
from superpoint.data.training_set import split_names
from superpoint.data.warped_pairs import warped_view
from superpoint.engine.display import watch
from superpoint.engine.interrupt import StopRequest
from superpoint.engine.resume import config_differences
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.homography import Matrix, inverse, warp_points
from superpoint.labelling.shards import Collected, ShardFolder, digest
from superpoint.lightglue.config import MatcherConfig, MatcherDataConfig
from superpoint.losses.assignment import IGNORED, UNMATCHABLE
from superpoint.models import SuperPoint, load_network
from superpoint.models.extract import features
from superpoint.models.weights import model_hash

VIEW_STREAM, PAIR_STREAM = 7401, 7402  # of random numbers
PART = 10  # photographs of a shard
MADE_WITH = ("views", "height", "width", "keypoints", "threshold", "zoom", "photometric", "homography")
MIN_MATCHES = 20  # of a pair to learn by heart
SEARCHED = 500  # pairs looked through for such a one


def true_matches(
    keypoints0: NDArray[np.floating],
    keypoints1: NDArray[np.floating],
    h_0_1: Matrix,
    near: float = 3.0,
    far: float = 5.0,
) -> list[NDArray[np.int64]]:
    """Return of each keypoint [N, 2] and [M, 2] its match in the other image under the homography from first to second.

    Two match that are each other's nearest and within `near` pixels in both images. A keypoint that has no other within
    `far` pixels, hidden or beyond the edge of the other image or not found there, is UNMATCHABLE. All else is IGNORED.
    """
    if not len(keypoints0) or not len(keypoints1):
        return [np.full(len(points), UNMATCHABLE, np.int64) for points in (keypoints0, keypoints1)]
    in1 = _distances(warp_points(keypoints0, h_0_1), keypoints1)  # [N, M], in pixels of image 1
    in0 = _distances(keypoints0, warp_points(keypoints1, inverse(h_0_1)))
    both, found = np.maximum(in0, in1), []
    for apart, own in ((both, in1), (both.T, in0.T)):
        nearest, rows = apart.argmin(axis=1), np.arange(len(apart))
        matched = (apart.argmin(axis=0)[nearest] == rows) & (apart[rows, nearest] <= near)
        found.append(np.where(matched, nearest, np.where(own.min(axis=1) > far, UNMATCHABLE, IGNORED)))
    return found


def _distances(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """Distances [N, M]; infinite to points behind the camera, which are NaN."""
    return np.nan_to_num(np.linalg.norm(first[:, None] - second[None], axis=2), nan=np.inf)


def extract_views(config: MatcherConfig, budget: Budget | None = None) -> int | None:
    """Write the file of features, if it is not there; return the signal that stopped it, if one did.

    Once LABEL_SHARE of a budget is spent, the photographs so far have to do.

    Raises: UserError for a file that is damaged, of another network or other settings, missing photographs, a network
        without descriptors, a disk that is full.
    """
    network, out = load_network(config.network), Path(config.features)
    if network.descriptor is None:
        raise UserError(f"network={config.network}: has no descriptors to match by, expected one such as superpoint")
    settings = made_with(config, network)
    if out.exists():
        with open_views(config, network) as file:
            for name, text in check_features(file):
                what = f"{name}: {text}" if name else text
                raise UserError(f"{out}: {what}; remove it, so that it is made anew")
        return None
    if config.data.images is None:
        raise UserError(f"data.features={out}: no such file, expected it, or data.images=... to make it from")
    source, shards = open_source([config.data.images], channels=network.channels), ShardFolder(out)
    header = {"config": json.dumps(settings["config"]), "frame": "upright", "model": settings["model"]}
    header |= {"network": config.network, "key": digest(settings)}
    with closing(source), closing(shards), StopRequest() as stop:
        if not isinstance(source, NamedImages):
            raise UserError(f"data.images={config.data.images}: found tars, expected a folder, a list or HDF5")
        listed = shards.start({**settings, "source": source.describe()}, resume=True)["source"]["names"]
        parts = [listed[start : start + PART] for start in range(0, len(listed), PART)]
        finished, end = shards.finished(), None if budget is None else budget.part(LABEL_SHARE * budget.left)
        for part, names in enumerate(watch(parts, f"parts of {PART} photographs")):
            if end is not None and part > 1 and not end.left:
                told = f"features of {part * PART} of {len(listed)} photographs, as many as their time was enough for"
                print(told, file=sys.stderr)
                break
            collected = Collected()
            for name in () if part in finished else names:
                if stop.signal is not None:
                    return stop.signal
                try:
                    collected.features |= view_features(network, source.load(name), name, config)
                except UserError as error:
                    collected.skipped[name] = str(error)
            if part not in finished:
                shards.write(part, 0, collected, end=True, attributes=header)
        shards.merge(header)
        shards.remove()
    return None


def made_with(config: MatcherConfig, network: SuperPoint) -> dict[str, object]:
    """Return what the features depend on, beside the photographs."""
    data = {key: value for key, value in asdict(config.data).items() if key in MADE_WITH}
    return {"config": data, "model": model_hash(network)}


def view_features(
    network: SuperPoint, photograph: NDArray[np.uint8], name: str, config: MatcherConfig
) -> dict[str, Features]:
    """Return the features of a photograph's views, by name: a function of (name, number of the view)."""
    data, decode = config.data, DecodeConfig(threshold=config.data.threshold, max_keypoints=config.data.keypoints)
    drawn = []
    for number in range(data.views):
        rng = np.random.Generator(np.random.SFC64([zlib.crc32(name.encode()), number, VIEW_STREAM]))
        size = data.height, data.width
        drawn.append(warped_view(photograph, size, data.zoom, data.homography, data.photometric, rng))
    images, masks, warps = zip(*drawn, strict=True)
    found = features(network, images, decode, valid=torch.from_numpy(np.stack(masks)))
    return {
        f"{name}/{k:03d}": replace(each, warp=warp) for k, (each, warp) in enumerate(zip(found, warps, strict=True))
    }


def open_views(config: MatcherConfig, network: SuperPoint | None = None) -> FeatureFile:
    """Open the file of features. Raises: UserError if it is no such file, of another network or other settings."""
    file, settings = FeatureFile(config.features), made_with(config, network or load_network(config.network))
    found = file.attributes
    if found.get("key") != digest(settings):
        differences = config_differences(str(found.get("config", "")), json.dumps(settings["config"]))
        key, was, now = "network", found.get("model", "unknown"), settings["model"]
        if was == now:
            key, was, now = next(iter(differences), ("key", found.get("key"), digest(settings)))
        raise UserError(
            f"{file.path}: found features made with {key} {was}, expected {now}; remove it, or set data.features"
        )
    return file


class ViewPairs(Dataset[dict[str, Tensor]]):
    """Pairs of views of one photograph, without end, each a pure function of (seed, index).

    Sample `index` is a dict of tensors, for each view i of 0 and 1: "keypoints<i>" float32 [K, 2] in pixels,
    "descriptors<i>" float32 [K, D], "filled<i>" bool [K] (the first ones; K = `data.keypoints` + 1, so that one is
    free), "size<i>" float32 [2], "matches<i>" int64 [K], see `true_matches`, IGNORED where nothing is; and "h_0_1"
    float32 [3, 3].
    """

    def __init__(self, file: FeatureFile, config: MatcherDataConfig, seed: int, *, held_out: bool = False) -> None:
        """Take pairs of the photographs for training, or of those held out. Raises: UserError without any."""
        self.file, self.config, self.seed = file, config, seed
        views: dict[str, list[str]] = {}
        for name in file.names():
            views.setdefault(name.rpartition("/")[0], []).append(name)
        if len(views) < 2:
            raise UserError(f"{file.path}: found views of {len(views)} photograph(s), expected two or more; remove it")
        chosen = list(views) if config.overfit else split_names(list(views), config.holdout)[held_out]
        self.views = [views[name] for name in chosen if len(views[name]) > 1]
        if not self.views:
            raise UserError(f"{file.path}: found no photograph with two views, expected at least one")
        self.repeated: list[int] = []
        if config.overfit:
            enough = (index for index in range(SEARCHED) if (self[index]["matches0"] >= 0).sum() >= MIN_MATCHES)
            self.repeated = [index for index, _ in zip(enough, range(config.overfit), strict=False)]
            if len(self.repeated) < config.overfit:
                raise UserError(
                    f"data.overfit: found {len(self.repeated)} pairs with {MIN_MATCHES} matches among {SEARCHED}, "
                    f"expected {config.overfit}"
                )

    def __len__(self) -> int:
        return self.config.overfit or 2**62

    def names(self, index: int) -> tuple[str, str]:
        """Return the names of the two views of pair `index`."""
        index = self.repeated[index % len(self.repeated)] if self.repeated else index
        views = self.views[epoch_order(self.seed, index, len(self.views))]
        rng = np.random.Generator(np.random.SFC64([self.seed, index, PAIR_STREAM]))
        first, second = rng.permutation(len(views))[:2]
        return views[first], views[second]

    def draw(self, index: int) -> tuple[Features, Features, Matrix]:
        """Return the features of both views, and the homography between them. Raises: UserError if they are damaged."""
        first, second = (self.file.read(name) for name in self.names(index))
        if first.warp is None or second.warp is None:
            raise UserError(f"{self.file.path}: found views without 'warp', expected those of train-matcher; remove it")
        return first, second, second.warp @ inverse(first.warp)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        first, second, h_0_1 = self.draw(index)
        truth = true_matches(first.keypoints, second.keypoints, h_0_1, self.config.near, self.config.far)
        sample = {"h_0_1": torch.from_numpy(h_0_1.astype(np.float32))}
        for i, (each, matches) in enumerate(zip((first, second), truth, strict=True)):
            filled = np.ones(len(each), bool)
            for key, values in {**vars(each), "filled": filled, "matches": matches}.items():
                if key in ("keypoints", "descriptors", "filled", "matches"):
                    shape = (self.config.keypoints + 1, *values.shape[1:])
                    padded = np.full(shape, IGNORED if key == "matches" else 0, values.dtype)
                    padded[: len(values)] = values
                    sample[f"{key}{i}"] = torch.from_numpy(padded)
            sample[f"size{i}"] = torch.tensor(each.image_size, dtype=torch.float32)
        return sample
