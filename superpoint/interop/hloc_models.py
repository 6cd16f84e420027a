"""Our extractor and matcher inside hloc, and inside its fork in Image Matching WebUI ("imcui.hloc").

After `register()` the name "superpoint_trained" in `conf["model"]["name"]` stands for them.
"""

import importlib
import sys
import types
from typing import Any, ClassVar

import numpy as np
import torch

from superpoint.config import DecodeConfig
from superpoint.config.inference import BORDER, MODEL, NMS_RADIUS, THRESHOLD
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.inference import load_model
from superpoint.interop.local_feature import grey
from superpoint.matching import match
from superpoint.models.extract import features

NAME = "superpoint_trained"  # of both modules: hloc has a superpoint of its own


def register(package: str = "hloc") -> None:
    """Let the `dynamic_load` of hloc find our extractor and matcher. Raises: UserError if hloc is not installed."""
    try:
        base = importlib.import_module(f"{package}.utils.base_model").BaseModel
    except ImportError as error:
        raise UserError(f"{package}: cannot be imported ({error}), expected hloc or a fork of it") from error
    for kind, body in (("extractors", _Extractor), ("matchers", _Matcher)):
        module = types.ModuleType(f"{package}.{kind}.{NAME}")
        # hloc wants one class in the module that says it is of this module.
        module.__dict__["Model"] = type("Model", (body, base), {"__module__": module.__name__})
        sys.modules[module.__name__] = module


class _Extractor:
    """Keypoints and descriptors of one grey or RGB image [1, C, H, W], 0..1; "weights" as for `load_model`."""

    detection_noise = 1.0  # px; hloc writes it as the uncertainty
    required_inputs: ClassVar = ["image"]
    default_conf: ClassVar = {
        **{"weights": MODEL, "max_keypoints": -1, "nms_radius": NMS_RADIUS},
        **{"keypoint_threshold": THRESHOLD, "remove_borders": BORDER},
    }
    conf: dict[str, Any]

    def _init(self, conf: dict[str, Any]) -> None:
        self.detector = load_model(conf["weights"])

    def _forward(self, data: dict[str, torch.Tensor]) -> dict[str, Any]:
        conf, image = self.conf, data["image"]
        keep = max(int(conf["max_keypoints"]), 0)
        decode = DecodeConfig(conf["nms_radius"], conf["keypoint_threshold"], conf["remove_borders"], keep)
        (found,) = features(self.detector.network, grey(image, self.detector.channels).float(), decode)
        if found.descriptors is None:
            raise UserError(f"weights={conf['weights']}: found no descriptors, expected a network with them")
        arrays = {"keypoints": found.keypoints, "scores": found.scores, "descriptors": found.descriptors.T}
        return {name: [torch.tensor(values, device=image.device)] for name, values in arrays.items()}


class _Matcher:
    """`superpoint.match` of descriptors [1, D, N], with its arguments as the configuration."""

    required_inputs: ClassVar = ["descriptors0", "descriptors1"]
    default_conf: ClassVar = {"method": "mutual", "ratio": 0.8, "temperature": 0.05, "min_score": 0.0}
    conf: dict[str, Any]

    def _init(self, conf: dict[str, Any]) -> None:
        pass

    def _forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        both = [data[name][0].float().T.cpu().numpy() for name in self.required_inputs]
        seen = [Features(np.zeros((len(each), 2)), None, each) for each in both]
        found = match(seen[0], seen[1], **{key: self.conf[key] for key in self.default_conf})
        partner, score = np.full((1, len(both[0])), -1), np.zeros((1, len(both[0])), np.float32)
        partner[0, found.indices[:, 0]], score[0, found.indices[:, 0]] = found.indices[:, 1], found.scores
        device = data["descriptors0"].device
        arrays = {"matches0": partner, "matching_scores0": score}
        return {name: torch.from_numpy(values).to(device) for name, values in arrays.items()}
