"""Inputs of LightGlue (cvg/LightGlue and kornia).

Its published weights "superpoint" fit only the published SuperPoint; a network trained here needs a LightGlue trained
on its own descriptors.
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
