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
from superpoint.matching.matches import Matches
from superpoint.models.lightglue import load_matcher_network

Input = dict[str, dict[str, Tensor]]
Matcher = Callable[[Features, Features], Matches]
MIN_PROBABILITY = 0.1  # of a match


@lru_cache(maxsize=2)
def load_matcher(
    source: str | Path,
    *,
    network: str | None = None,
    device: str | torch.device = "cpu",
    min_score: float = MIN_PROBABILITY,
) -> Matcher:
    """Return a function from the features of two images to their matches, by weights of `train-matcher`.

    Args:
        source: a run folder, weights or a checkpoint.
        network: hash (`models.weights.model_hash`) of the network that the features are of; None = not known.
        min_score: min probability of a match.

    Raises: UserError if there are no such weights, or they were trained on another network. The function raises one for
        features without descriptors, without image size, or with descriptors of another length.
    """
    matcher = load_matcher_network(source)
    if network not in (None, matcher.network):
        raise UserError(f"{source}: found a matcher for features of another network ({matcher.network}, not {network})")
    matcher.conf.filter_threshold = min_score
    matcher.to(device)

    def match(features0: Features, features1: Features) -> Matches:
        for name, each in (("features0", features0), ("features1", features1)):
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


def lightglue_input(features0: Features, features1: Features, device: str | torch.device = "cpu") -> Input:
    """Return the argument of LightGlue's forward (cvg/LightGlue and kornia), a batch of one pair.

    Returns: "image0" and "image1" -> "keypoints" [1, N, 2] (x, y) in pixels, "descriptors" [1, N, D], "keypoint_scores"
        [1, N], "image_size" [1, 2] (width, height); float32.
    Raises: UserError without descriptors.
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
    arrays = {
        "keypoints": features.keypoints,
        "descriptors": features.descriptors,
        "keypoint_scores": features.scores,
        "image_size": np.array(features.image_size, np.float32),
    }
    return {name: torch.from_numpy(np.ascontiguousarray(values))[None].to(device) for name, values in arrays.items()}
