"""Stage `export-detections`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from superpoint.config.adaptation import AdaptationConfig
from superpoint.config.model import DecodeConfig
from superpoint.config.runtime import check_runtime
from superpoint.errors import UserError, check_number


@dataclass(frozen=True)
class ExportConfig:
    """From images to a feature file; what is not marked decides about the content, so a resume must not change it."""

    stage: ClassVar[str] = "export-detections"

    weights: str = "magicpoint"  # name of pretrained weights, run folder or file
    resize: int = 320  # longest side, in pixels, at which the network sees an image; never enlarged; 0 = as it is
    max_megapixels: float = 4.0  # larger images (after `resize`) are skipped, lest one of them take all memory
    # Labels move to the nearest corner of the image at up to 1.5 times `resize`: `labelling/corners.py`. A detector
    # that is trained on such labels, with `model.fine`, places its points better.
    sharpen: bool = False
    corners: float = 0.0  # with sharpen: corners in 100 x 100 pixels of that, at most, that are labelled besides
    descriptors: bool = True  # written too, if the network has them and adaptation is off
    shard_size: int = 64  # images between two writes to the disk: the most that a kill can cost
    prefix: bool = False  # image names of tars begin with the name of their tar
    backend: str = "auto"  # auto | torch | openvino | onnxruntime
    precision: str = "auto"  # auto | fp32 | bf16
    device: str = "auto"  # auto | cpu | cuda | mps
    readers: int = 2  # threads that decode images ahead of the network (may change)
    keep_broken: bool = False  # take a tar that breaks off for finished, with what could be read of it (may change)
    merge: bool = True  # into one file at the end; otherwise the folder of shards is the result (may change)
    # Views in one pass by the memory that happens to be free would change the last bits of the points.
    adaptation: AdaptationConfig = field(default_factory=lambda: AdaptationConfig(memory=256))
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def __post_init__(self) -> None:
        check_number("resize", self.resize, 0)
        if 0 < self.resize < 8:
            raise UserError(f"resize: found {self.resize}, expected 0 or at least 8 pixels")
        check_number("max_megapixels", self.max_megapixels, 0, above=True)
        check_number("corners", self.corners, 0, 200)
        if self.corners and not self.sharpen:
            raise UserError(f"corners: found {self.corners:g} with sharpen=false, expected sharpen=true")
        if self.sharpen and self.adaptation.homographies <= 1:
            raise UserError("sharpen: found true with adaptation=none, expected adaptation: it is labels that it moves")
        check_number("shard_size", self.shard_size, 1, 100_000)
        check_number("readers", self.readers, 1, 256)
        check_runtime(self.backend, self.precision, self.device)


MAY_CHANGE = ("readers", "keep_broken", "merge")  # fields that a resume may set anew
