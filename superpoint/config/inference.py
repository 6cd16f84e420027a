"""The commands that use a trained network: `detect`, `match`, `track`."""

from __future__ import annotations

from dataclasses import dataclass

from superpoint.config.runtime import check_runtime
from superpoint.errors import UserError, check_number

# Of two peaks no farther apart than this along both axes the weaker is dropped. Smaller than the paper's 4: then fewer
# points are without their counterpart in the other view and matched to a neighbour of it. On 120 generated pairs
# (README, "Image pairs") 92.8 % of the matches of `superpoint`, round 3, are within 3 px, instead of 91.5 %.
NMS_RADIUS = 3  # px


@dataclass(frozen=True)
class InferenceConfig:
    """Which network, where it runs, and how its output becomes keypoints. See `inference.FeatureDetector.detect`."""

    model: str = "superpoint-lite"  # name of pretrained weights, weights file, checkpoint or run folder
    threshold: float = 0.015  # least probability
    max_keypoints: int = 0  # strongest keypoints kept; 0 = all
    nms_radius: int = NMS_RADIUS  # px
    border: int = 4  # px; keypoints nearer to the image edge are dropped
    resize: int = 1024  # longest side at which the network sees an image, px; never enlarged; 0 = as it is
    backend: str = "auto"  # auto | torch | openvino | onnxruntime
    precision: str = "auto"  # auto | fp32 | bf16
    device: str = "auto"  # auto | cpu | cuda | mps

    def __post_init__(self) -> None:
        check_number("--threshold", self.threshold, 0, 1)
        check_number("--max-keypoints", self.max_keypoints, 0)
        check_number("--nms-radius", self.nms_radius, 0, 1000)
        check_number("--border", self.border, 0)
        check_number("--resize", self.resize, 0)
        if 0 < self.resize < 8:
            raise UserError(f"--resize: found {self.resize}, expected 0 or at least 8 pixels")
        check_runtime(self.backend, self.precision, self.device, prefix="--")
