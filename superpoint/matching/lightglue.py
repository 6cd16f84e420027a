"""LightGlue as a matcher: `load_matcher` for one trained here, inputs and outputs for any other.

Weights fit the network alone that they were trained on: the published "superpoint" only the published SuperPoint.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from kornia.feature import LightGlue
from torch import Tensor

from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.homography import inside
from superpoint.matching.matches import Matches
from superpoint.models.lightglue import load_matcher_network
from superpoint.pretrained import pretrained_matchers

Input = dict[str, dict[str, Tensor]]
Matcher = Callable[[Features, Features], Matches]
MIN_PROBABILITY = 0.1  # of a match


@lru_cache(maxsize=2)
def load_matcher(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    min_score: float = MIN_PROBABILITY,
) -> Matcher:
    """Return a function from the features of two images to their matches, by weights of `train-matcher`.

    Args:
        source: a run folder, weights or a checkpoint.
        min_score: min probability of a match.

    Raises: UserError if there are no such weights. The function raises one for features without descriptors, without
        image size, of another network than the matcher was trained on, or with descriptors of another length.
    """
    matcher = load_matcher_network(source)
    matcher.conf.filter_threshold = min_score
    matcher.to(device)

    def match(features0: Features, features1: Features) -> Matches:
        for name, each in (("features0", features0), ("features1", features1)):
            check_network(source, matcher.network, each.network)
            length = 0 if each.descriptors is None else each.descriptors.shape[1]
            if each.image_size == (0, 0) or length not in (0, matcher.conf.input_dim):
                raise UserError(
                    f"{name}: found descriptors of length {length} in an image of {each.image_size}, expected "
                    f"{matcher.conf.input_dim} and a known size (width, height)"
                )
        pair = lightglue_input(features0, features1, device)
        with torch.no_grad():
            return matches_of(LightGlue.forward(matcher, pair))

    return match


def find_matcher(method: str, network: str) -> str:
    """Return the weights of "lightglue:RUN", or of "lightglue" the name of the pretrained ones for a network.

    Args: network, the hash (`models.weights.model_hash`) of the network that the features are of; "" = not known.
    Raises: UserError if RUN is for another network, or no pretrained weights are for this one.
    """
    source = method.partition(":")[2]
    if source:
        check_network(source, trained_on(source), network)
        return source
    names = pretrained_matchers()
    source = next((name for name in names if network and trained_on(name) == network), "")
    if not source:
        raise UserError(
            f"lightglue: found no pretrained matcher for features of network {network or 'unknown'}, expected one "
            f"({', '.join(names) or 'there is none'}); train one by superpoint train-matcher, and take lightglue:RUN"
        )
    return source


@lru_cache(maxsize=16)
def trained_on(source: str | Path) -> str:
    """Return the hash of the network that a matcher was trained on."""
    return load_matcher_network(source).network


def check_network(source: str | Path, expected: str, found: str) -> None:
    """Raise UserError if a matcher for the network `expected` is given features of another, `found`; "" = not known."""
    if "" not in (found, expected) and found != expected:
        raise UserError(f"lightglue:{source}: found features of network {found}, expected {expected} as in training")


def lightglue_input(features0: Features, features1: Features, device: str | torch.device = "cpu") -> Input:
    """Return the argument of LightGlue's forward (cvg/LightGlue and kornia), a batch of one pair.

    Returns: "image0" and "image1" -> "keypoints" [1, N, 2] (x, y) in pixels, "descriptors" [1, N, D], "keypoint_scores"
        [1, N], "image_size" [1, 2] (width, height); float32.
    Raises: UserError without descriptors, or for keypoints outside the image.
    """
    return {f"image{index}": _one(each, index, device) for index, each in enumerate((features0, features1))}


def matches_of(output: dict[str, object]) -> Matches:
    """Return the matches of the first pair in LightGlue's output, best first."""
    pairs, scores = output["matches"][0], output["scores"][0]  # type: ignore[index]
    indices, values = (np.asarray(each.detach().cpu()) for each in (pairs, scores))
    order = np.argsort(-values, kind="stable")
    return Matches(indices[order].reshape(-1, 2).astype(np.int64), values[order])


def _one(features: Features, index: int, device: str | torch.device) -> dict[str, Tensor]:
    if features.descriptors is None:
        raise UserError(f"features{index}: found no descriptors, expected those of a network with a descriptor head")
    width, height = features.image_size
    if not inside(features.keypoints, height, width, -0.5).all():
        raise UserError(f"features{index}: found keypoints outside their image of {width}x{height}, expected none")
    arrays = {
        "keypoints": np.maximum(features.keypoints, 0),  # kornia refuses negative ones
        "descriptors": features.descriptors,
        "keypoint_scores": features.scores,
        "image_size": np.array(features.image_size, np.float32),
    }
    return {name: torch.from_numpy(np.ascontiguousarray(values))[None].to(device) for name, values in arrays.items()}
