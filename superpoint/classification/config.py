"""Stage `train-classifier`."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from superpoint.config.training import OptimizerConfig, ScheduleConfig, TrainConfig
from superpoint.errors import UserError, check_number, check_one_of, check_range

CROPS = ("resized", "padded", "centre")
TEST_CROPS = (1, 5, 10)


@dataclass(frozen=True)
class ClassDataConfig:
    """Images with one class each."""

    train: str | None = None  # a folder with a sub-folder a class, a CSV path,label, or an IDX file of images
    train_labels: str | None = None  # IDX: its labels; None = the name beside it with labels-idx1 for images-idx3
    test: str | None = None  # as train; None = test_share of train is kept back
    test_labels: str | None = None  # IDX: labels of the test images; null as for train_labels
    root: str | None = None  # CSV: its paths are relative to this folder; None = to the file's own
    classes: list[str] | None = None  # CSV, IDX: names of the labels 0, 1, ...; None = as found
    test_share: float = 0.2  # without test: drawn by `seed`
    limit: int = 0  # training images taken at most, drawn by `seed`; 0 = all
    test_limit: int = 0  # test images taken at most; 0 = all
    height: int = 64  # what the network sees, in pixels
    width: int = 64  # what the network sees, in pixels
    channels: int = 3  # 3 = RGB | 1 = grey levels
    normalise: str = "standard"  # standard: (x - mean) / deviation of the training images, by channel | mean | none
    in_memory: int = 20_000  # up to as many images are read once and kept, shrunk; more are read whenever needed
    workers: int = -1  # loader processes; -1 = by device

    def __post_init__(self) -> None:
        check_number("data.test_share", self.test_share, 0.01, 0.9)
        for key in ("limit", "test_limit", "in_memory"):
            check_number(f"data.{key}", getattr(self, key), 0)
        for key in ("height", "width"):
            check_number(f"data.{key}", getattr(self, key), 4, 4096)
        if self.channels not in (1, 3):
            raise UserError(f"data.channels: found {self.channels}, expected 3 (RGB) or 1 (grey levels)")
        check_one_of("data.normalise", self.normalise, ["standard", "mean", "none"])
        check_number("data.workers", self.workers, -1, 1024)


@dataclass(frozen=True)
class ClassAugmentConfig:
    """Changes to a training image, and crops of a test image. See `classification/data/transforms.py`."""

    crop: str = "resized"  # resized: any size and shape | padded: shifted | centre: none
    scale: list[float] = field(default_factory=lambda: [0.08, 1.0])  # resized: share of the image's area
    ratio: list[float] = field(default_factory=lambda: [0.75, 4 / 3])  # resized: width over height, log-uniform
    padding: int = 4  # padded: pixels on each side, black
    flip: float = 0.5  # probability of mirroring left and right
    brightness: float = 0.0  # factor uniform in [1 - brightness, 1 + brightness]
    contrast: float = 0.0  # likewise, about the mean grey level
    saturation: float = 0.0  # likewise, about the grey image
    hue: float = 0.0  # turn of the hue, uniform in [-hue, hue]; 0.5 is half a circle
    test_resize: float = 1.15  # shorter side of a test image over that of the crop (256 / 224)
    test_crops: int = 1  # 1 = centre | 5 = and corners | 10 = and all mirrored; their probabilities are averaged

    def __post_init__(self) -> None:
        check_one_of("augment.crop", self.crop, CROPS)
        check_range("augment.scale", self.scale, 0.001, 1.0)
        check_range("augment.ratio", self.ratio, 0.1, 10.0)
        check_number("augment.padding", self.padding, 0, 1024)
        limits = {"flip": 1, "brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.5}
        for key, limit in limits.items():
            check_number(f"augment.{key}", getattr(self, key), 0, limit)
        check_number("augment.test_resize", self.test_resize, 1, 8)
        if self.test_crops not in TEST_CROPS:
            raise UserError(f"augment.test_crops: found {self.test_crops}, expected 1, 5 or 10")


@dataclass(frozen=True)
class ClassifierModelConfig:
    """The network. See `backbones/classifiers.py`."""

    name: str = "resnet18"  # a name in superpoint.backbones.classifiers.CLASSIFIERS
    init: str = "kaiming"  # kaiming | xavier | trunc_normal, see `backbones/initialisation.py`
    options: dict[str, Any] = field(default_factory=dict)  # of the network's constructor, such as {dropout: 0.5}

    def __post_init__(self) -> None:
        check_one_of("model.init", self.init, ["kaiming", "xavier", "trunc_normal"])


@dataclass(frozen=True)
class ClassifierConfig:
    """Stage `train-classifier`."""

    stage: ClassVar[str] = "train-classifier"

    run: str = "runs/classifier"  # run folder
    seed: int = 0  # of weights, split, samples and augmentation
    # A run folder of this stage, its weights, or a checkpoint of torchvision; None = from nothing.
    weights: str | None = None
    epochs: float = 30.0  # passes over the training images; sets train.steps and train.validate_every
    label_smoothing: float = 0.0  # share of the target that all classes divide
    data: ClassDataConfig = field(default_factory=ClassDataConfig)
    augment: ClassAugmentConfig = field(default_factory=ClassAugmentConfig)
    model: ClassifierModelConfig = field(default_factory=ClassifierModelConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(name="sgd", lr=0.05, momentum=0.9, weight_decay=5e-4)
    )
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(minutes=None, steps=1, batch_size=32, ema=0.0, clip_norm=5.0, log_every=10)
    )

    def __post_init__(self) -> None:
        check_number("seed", self.seed, 0, 2**63)
        check_number("epochs", self.epochs, 0, above=True)
        check_number("label_smoothing", self.label_smoothing, 0, 0.999)
