"""Stage `export-detections`: labels of photographs, by homographic adaptation or by plain detection."""

from dataclasses import dataclass, field
from typing import ClassVar

from superpoint.config.inference import check_resize, check_runtime
from superpoint.config.model import DecodeConfig
from superpoint.errors import UserError, check_number, check_numbers
from superpoint.geometry.ranges import HomographyRanges


@dataclass(frozen=True)
class AdaptationConfig(HomographyRanges):
    """Homographic adaptation, see `superpoint/labelling`: how many views, how far they are warped, how they are joined.

    `decode` finds the keypoints in the aggregated map, as in a plain one.
    """

    homographies: int = 100  # views, the unwarped image among them; 0 or 1 = plain detection
    seed: int = 0  # the views of an image depend on this and on its name only
    perspective: float = 0.1
    shear: float = 0.05
    scales: list[float] = field(default_factory=lambda: [1.0])  # resolutions of the views, taken in turn
    margin: int = 3  # pixels of a view beside its frame, and beside the image's outline in it, that are not used
    min_views: int = 5  # a pixel seen by fewer views gets no keypoint (fewer still if there are fewer views at all)
    # Stop once this share of the keypoints stays put over 10 more views; 0 = take all views. On photographs 0.9 takes
    # 44 views of 100 and changes 11 % of the keypoints; another seed changes 16 %.
    settle: float = 0.0
    memory: int = 0  # MB for the views of one chunk; 0 = a quarter of what is free, at most 512 MB

    def __post_init__(self) -> None:
        self.check("adaptation")
        check_numbers(
            self, "adaptation.", homographies=(0, 100_000), seed=(0, 2**63), margin=(0, 100), min_views=(1,),
            settle=(0, 1), memory=(0,),
        )  # fmt: skip
        if not self.scales:
            raise UserError("adaptation.scales: found an empty list, expected one resolution or more, e.g. [1.0]")
        for scale in self.scales:
            check_number("adaptation.scales", scale, 0.1, 8)


@dataclass(frozen=True)
class LabellingConfig:
    """From images to a feature file; what is not marked decides about the content, so a resume must not change it."""

    stage: ClassVar[str] = "export-detections"

    weights: str = "magicpoint"  # name of pretrained weights, run folder or file
    resize: int = 320  # longest side, in pixels, at which the network sees an image; never enlarged; 0 = as it is
    max_megapixels: float = 4.0  # larger images (after `resize`) are skipped, lest one of them take all memory
    # Labels move to the nearest corner of the image at up to 1.5 times `resize`: `labelling/corners.py`. A detector
    # that is trained on such labels, with `model.fine`, locates keypoints better.
    sharpen: bool = False
    corners: float = 0.0  # with sharpen: max corners labelled besides, per 100 x 100 pixels of that
    descriptors: bool = True  # written too, if the network has them and adaptation is off
    shard_size: int = 64  # images between two writes to the disk: the max that a kill can cost
    prefix: bool = False  # image names of tars begin with the name of their tar
    backend: str = "auto"  # auto | torch | openvino | onnxruntime
    precision: str = "auto"  # auto | fp32 | bf16
    device: str = "auto"  # auto | cpu | cuda | mps
    readers: int = 2  # threads that decode images ahead of the network (may change)
    keep_broken: bool = False  # take a tar that breaks off for finished, with what could be read of it (may change)
    merge: bool = True  # into one file at the end; otherwise the folder of shards is the result (may change)
    # Views in one pass by the memory that happens to be free would change the last bits of the keypoints.
    adaptation: AdaptationConfig = field(default_factory=lambda: AdaptationConfig(memory=256))
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def __post_init__(self) -> None:
        check_resize("resize", self.resize)
        check_number("max_megapixels", self.max_megapixels, 0, above=True)
        check_numbers(self, corners=(0, 200), shard_size=(1, 100_000), readers=(1, 256))
        if self.corners and not self.sharpen:
            raise UserError(f"corners: found {self.corners:g} with sharpen=false, expected sharpen=true")
        if self.sharpen and self.adaptation.homographies <= 1:
            raise UserError("sharpen: found true with adaptation=none, expected adaptation: it moves its labels")
        check_runtime(self.backend, self.precision, self.device)


MAY_CHANGE = ("readers", "keep_broken", "merge")  # fields that a resume may set anew
