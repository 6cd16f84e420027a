"""What the network sees: shapes, augmentation, image size."""

from dataclasses import dataclass, field

from superpoint.errors import UserError, check_number, check_numbers, check_one_of, check_range
from superpoint.geometry.ranges import HomographyRanges

PRIMITIVES = ("lines", "polygon", "multiple_polygons", "ellipses", "star", "checkerboard", "stripes", "cube")


@dataclass(frozen=True)
class PhotometricConfig:
    """Photometric augmentation; amplitudes in grey levels of 0..255 unless stated. See `data/photometric.py`."""

    enable: bool = True  # false = none of the effects
    strength: float = 1.0  # multiplies every amplitude below; 0 leaves the image unchanged
    brightness: float = 50.0  # added constant, uniform in [-brightness, brightness]
    contrast: list[float] = field(default_factory=lambda: [0.4, 1.6])  # factor about the image mean
    gaussian_noise: list[float] = field(default_factory=lambda: [1.0, 40.0])  # standard deviation, log-uniform
    speckle_noise: float = 0.01  # share of pixels set to black or white, uniform in [0, speckle_noise]
    shade: list[float] = field(default_factory=lambda: [-0.5, 0.7])  # opacity of blurred dark (> 0) or light ellipses
    lamplight: float = 1.0  # how many times darker than near a lamp it gets away from it, log-uniform; 1 = never
    motion_blur: int = 5  # longest kernel in pixels; below 3 = never
    defocus_blur: float = 1.0  # largest Gaussian sigma in pixels
    gamma: float = 1.0  # grey levels of 0..1 to a power between 1 / gamma and gamma, log-uniform; 1 = never
    jpeg_quality: int = 0  # compression down to this quality, 1..95; 0 = never
    colour_mix: float = 0.0  # pairs, grey: share of a random mix of red, green and blue in the grey levels, 0..1
    probability: float = 0.5  # of each of the effects above, independently

    def __post_init__(self) -> None:
        check_numbers(
            self, "data.photometric.", strength=(0, 10), brightness=(0, 255), speckle_noise=(0, 1),
            motion_blur=(0, 101), defocus_blur=(0, 50), jpeg_quality=(0, 95), probability=(0, 1),
            lamplight=(1, 100), gamma=(1, 10), colour_mix=(0, 1),
        )  # fmt: skip
        check_range("data.photometric.contrast", self.contrast, 0.0, 10.0)
        check_range("data.photometric.gaussian_noise", self.gaussian_noise, 1e-3, 255.0)
        check_range("data.photometric.shade", self.shade, -1.0, 1.0)


@dataclass(frozen=True)
class HomographyConfig(HomographyRanges):
    """Random homographies, convexity-checked. See `geometry/homography.py`."""

    enable: bool = True  # false = never warped
    probability: float = 0.6  # of warping a sample at all
    scale: list[float] = field(default_factory=lambda: [0.75, 1.5])
    translation: float = 0.05
    border_margin: int = 3  # pixels by which the valid mask is eroded

    def __post_init__(self) -> None:
        self.check("data.homography")
        check_numbers(self, "data.homography.", probability=(0, 1), border_margin=(0, 100))


@dataclass(frozen=True)
class SyntheticConfig:
    """The synthetic-shapes generator. See `data/synthetic/`."""

    # Relative frequency of each primitive; 0 = never, one that is not named keeps its default.
    primitives: dict[str, float] = field(default_factory=lambda: {**dict.fromkeys(PRIMITIVES, 1.0), "noise": 0.5})
    compose: float = 0.5  # probability of several primitives in one image, each in a region of its own
    texture: float = 0.5  # probability that a background or a fill is textured rather than uniform
    min_contrast: float = 25.0  # min grey-level difference between a shape and what lies behind it

    def __post_init__(self) -> None:
        if not any(weight > 0 for weight in self.primitives.values()):
            raise UserError("data.synthetic.primitives: no primitive has a weight above 0")
        for name, weight in self.primitives.items():
            check_number(f"data.synthetic.primitives.{name}", weight, 0)
        check_numbers(self, "data.synthetic.", compose=(0, 1), texture=(0, 1), min_contrast=(0, 100))


@dataclass(frozen=True)
class DataConfig:
    """What the network sees."""

    kind: str = "synthetic"  # synthetic | labelled (photographs with a feature file) | mixed
    labels: str | None = None  # labelled, mixed: feature file, as `superpoint export-detections` writes it
    images: str | None = None  # labelled, mixed: the folder that was labelled, or the HDF5 file of images
    masks: str | None = None  # labelled, mixed: folder of masks by the images' names, 0 = ignore: `data/masks.py`
    label_threshold: float = 0.0  # labels with a lower score are not used; of a file without scores all are
    labelled_share: float = 0.5  # mixed: share of the samples that are photographs
    holdout: float = 0.05  # share of the photographs, drawn by name, that is validated on and not trained on
    height: int = 120  # of the training images, in pixels
    width: int = 160  # of the training images, in pixels
    curriculum: int = 4000  # over this many first samples the augmentation grows from nothing to its full strength
    overfit: int = 0  # > 0: only this many samples, without augmentation, again and again
    overfit_first: int = 0  # number of the scene from which on these are taken
    workers: int = -1  # loader processes; -1 = one on CPU, up to 8 beside a GPU; 0 = in the training process
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)
    homography: HomographyConfig = field(default_factory=HomographyConfig)

    def __post_init__(self) -> None:
        check_one_of("data.kind", self.kind, ["synthetic", "labelled", "mixed"])
        if self.kind == "synthetic" and (self.labels or self.images or self.masks):
            raise UserError(
                "data.kind: found 'synthetic' beside data.labels, images or masks, expected labelled or mixed"
            )
        if self.kind != "synthetic" and not (self.labels and self.images):
            missing = "data.images" if self.labels else "data.labels"
            raise UserError(f"data.kind: found '{self.kind}' without {missing}, expected a feature file and its images")
        if self.kind == "mixed" and self.overfit:
            raise UserError("data.overfit: cannot be used with data.kind=mixed; take synthetic or labelled")
        check_numbers(
            self, "data.", label_threshold=(0, 1), labelled_share=(0.01, 0.99), holdout=(0.001, 0.5), height=(16,),
            width=(16,), curriculum=(0,), overfit=(0,), overfit_first=(0, 2**62), workers=(-1,),
        )  # fmt: skip
