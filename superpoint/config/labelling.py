"""Stage `export-detections`: labels of photographs, by homographic adaptation or by plain detection."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from superpoint.config.inference import check_resize, check_runtime, check_tile
from superpoint.config.model import DecodeConfig
from superpoint.errors import UserError, check_number, check_numbers, check_one_of
from superpoint.geometry.ranges import HomographyRanges

FRAMES = ("stored", "upright", "turned-back")


@dataclass(frozen=True)
class AdaptationConfig(HomographyRanges):
    """Homographic adaptation, see `superpoint/labelling`."""

    homographies: int = 100  # views, the unwarped image among them; 0 or 1 = plain detection
    seed: int = 0  # the views of an image depend on this and on its name only
    perspective: float = 0.1
    shear: float = 0.05
    scales: list[float] = field(default_factory=lambda: [1.0])  # resolutions of the views, taken in turn
    rotations: int = 1  # 4 = views are turned by right angles too, in turn; 2 = upside down
    margin: int = 3  # pixels beside a view's frame, and beside the image's outline in it, that are not used
    min_views: int = 5  # a pixel seen by fewer views gets no keypoint (fewer still if there are fewer views at all)
    settle: float = 0.0  # stop once this share of the keypoints stays put over 10 more views; 0 = take all views
    memory: int = 0  # MB for the views of one chunk; 0 = a quarter of what is free, at most 512 MB

    def __post_init__(self) -> None:
        self.check("adaptation")
        check_numbers(
            self, "adaptation.", homographies=(0, 100_000), seed=(0, 2**63), margin=(0, 100), min_views=(1,),
            settle=(0, 1), memory=(0,),
        )  # fmt: skip
        if self.rotations not in (1, 2, 4):
            raise UserError(f"adaptation.rotations: found {self.rotations}, expected 1, 2 or 4")
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
    tile: str = "auto"  # px, of tiles, for plain detection on large images; auto = where memory asks for it | 0 = none
    masks: str | None = None  # folder of masks by the images' names, 0 = ignore: `data/masks.py`
    sharpen: bool = False  # move labels to the nearest corner at up to 1.5 times `resize`: `labelling/corners.py`
    corners: float = 0.0  # with sharpen: max corners labelled besides, per 100 x 100 pixels of that
    # Where EXIF turns a photograph. stored: pixels as they lie in the file, as COLMAP and hloc take them | upright:
    # turned | turned-back: the network sees it turned, keypoints are turned back to the stored pixels
    frame: str = "stored"
    descriptors: bool = True  # written too, if the network has them and adaptation is off
    shard_size: int = 64  # images in a file of an export in progress
    prefix: bool = False  # image names of tars begin with the name of their tar
    backend: str = "auto"  # auto | torch | openvino | onnxruntime
    precision: str = "auto"  # auto | fp32 | bf16
    device: str = "auto"  # auto | cpu | cuda | mps
    readers: int = 2  # threads that decode images ahead of the network (may change)
    keep_broken: bool = False  # take a tar that breaks off for finished, with what could be read of it (may change)
    merge: bool = True  # into one file at the end; otherwise the folder of shards is the result (may change)
    # A fixed `memory`: how many views one pass takes changes the last bits of the keypoints.
    adaptation: AdaptationConfig = field(default_factory=lambda: AdaptationConfig(memory=256))
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def __post_init__(self) -> None:
        check_resize("resize", self.resize)
        check_one_of("frame", self.frame, FRAMES)
        check_tile("tile", self.tile)
        check_numbers(self, corners=(0, 200), shard_size=(1, 100_000), readers=(1, 256))
        if self.corners and not self.sharpen:
            raise UserError(f"corners: found {self.corners:g} with sharpen=false, expected sharpen=true")
        if self.sharpen and self.adaptation.homographies <= 1:
            raise UserError("sharpen: found true with adaptation=none, expected adaptation: it moves its labels")
        check_runtime(self.backend, self.precision, self.device)

    @property
    def seen(self) -> Literal["stored", "upright"]:
        """Return the frame in which the network sees photographs."""
        return "stored" if self.frame == "stored" else "upright"

    @property
    def written(self) -> Literal["stored", "upright"]:
        """Return the frame of the feature file."""
        return "upright" if self.frame == "upright" else "stored"


MAY_CHANGE = ("readers", "keep_broken", "merge")  # fields that a resume may set anew
