"""Inputs of LightGlue (cvg/LightGlue, and kornia's implementation of it).

LightGlue learns from descriptors: published weights "superpoint" fit the descriptors of the published SuperPoint, and
no others. On the descriptors of a network trained here they give noise; LightGlue has to be trained anew on them.
"""

import numpy as np
import torch
from torch import Tensor

from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.matching import Matches

Input = dict[str, dict[str, Tensor]]


def lightglue_input(features0: Features, features1: Features, device: str | torch.device = "cpu") -> Input:
    """Return the argument of LightGlue's forward, a batch of one pair.

    Returns: "image0" and "image1" -> "keypoints" [1, N, 2] (x, y) in pixels, "descriptors" [1, N, D], "keypoint_scores"
        [1, N], "image_size" [1, 2] (width, height); float32.

    Raises: UserError if one of them has no descriptors.
    """
    return {f"image{index}": _one(each, index, device) for index, each in enumerate((features0, features1))}


def matches_of(output: dict[str, object]) -> Matches:
    """Return what LightGlue found for the (first) pair, best first."""
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
