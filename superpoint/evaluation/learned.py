"""ALIKED and XFeat of kornia, with weights from a file; they see grey in all channels."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from superpoint.backbones.pretrained import read_state
from superpoint.errors import UserError
from superpoint.features import Features

Extract = Callable[[NDArray[np.uint8]], Features]
Run = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]  # image [1, 1, H, W], 0..1 -> points, scores, descriptors

ALIKED_MODELS = ("aliked-n16", "aliked-t16", "aliked-n32", "aliked-n16rot")
WHERE = {
    "aliked": "aliked-n16.pth of Shiaoming/ALIKED",
    "xfeat": "xfeat.pt of verlab/accelerated_features",
}


def learned_extractor(kind: str, weights: str, count: int, device: str = "auto") -> tuple[Extract, str]:
    """Return the function image uint8 [H, W] -> Features, the strongest `count`, and the hash of the weights file.

    Raises: UserError if there are no weights, they cannot be read, or do not fit.
    """
    path = Path(weights)
    if not weights or not path.is_file():
        found = f"{path}: no such file" if weights else f"--extractors: found '{kind}' without weights"
        raise UserError(f"{found}, expected {kind}:FILE, e.g. {WHERE[kind]}")
    where = torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")
    run = LEARNED[kind](read_state(path), path, count, where)

    def extract(image: NDArray[np.uint8]) -> Features:
        with torch.inference_mode():
            pixels = torch.from_numpy(image)[None, None].to(where).float() / 255
            found = [each.float().cpu() for each in run(pixels)]
        order = found[1].sort(descending=True, stable=True).indices[:count]
        points, scores, descriptors = (each[order].numpy() for each in found)
        return Features(points, scores, descriptors, (image.shape[1], image.shape[0]))

    return extract, hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _fill(module: nn.Module, state: dict[str, Tensor], path: Path, device: torch.device) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).split("\n")[1:2] or [str(error)]
        raise UserError(f"{path}: does not fit {type(module).__name__} ({reason[0].strip()[:160]})") from error
    module.eval().to(device)


def _aliked(state: dict[str, Tensor], path: Path, points: int, device: torch.device) -> Run:
    from kornia.feature import ALIKED  # kornia is slow to import, here and below

    message = ""
    for name in ALIKED_MODELS:
        model = ALIKED(name, max_num_keypoints=points, detection_threshold=0.0)
        grid = "dkd.hw_grid"  # a constant of kornia's, which the authors' files lack
        try:
            _fill(model, {grid: model.state_dict()[grid], **state}, path, device)
        except UserError as error:
            message = message or str(error)
            continue

        def run(image: Tensor, model: ALIKED = model) -> tuple[Tensor, Tensor, Tensor]:
            (found,) = model(image)
            return found.keypoints, found.keypoint_scores, found.descriptors

        return run
    raise UserError(message)


def _xfeat(state: dict[str, Tensor], path: Path, points: int, device: torch.device) -> Run:
    from kornia.feature import XFeat

    model = XFeat(top_k=points)
    _fill(model.net, {key.removeprefix("net."): value for key, value in state.items()}, path, device)
    model.eval()

    def run(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (found,) = model.detectAndCompute(image)
        # It scales positions by the ratio of sizes after its shrink to multiples of 32; ours are centred on pixels.
        height, width = image.shape[-2:]
        ratio = torch.tensor([width / (width // 32 * 32), height / (height // 32 * 32)], device=image.device)
        return found["keypoints"] + (ratio - 1) / 2, found["scores"], found["descriptors"]

    return run


LEARNED = {"aliked": _aliked, "xfeat": _xfeat}
