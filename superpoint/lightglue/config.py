"""Stage `train-matcher`."""

from dataclasses import dataclass, field
from typing import ClassVar

from superpoint.config.data import HomographyConfig, PhotometricConfig
from superpoint.config.training import OptimizerConfig, ScheduleConfig, TrainConfig
from superpoint.errors import UserError, check_number, check_numbers


@dataclass(frozen=True)
class MatcherDataConfig:
    """Views of photographs, whose features are extracted once. See `lightglue/views.py`."""

    images: str | None = None  # folder of photographs; not needed once the features are there
    features: str | None = None  # HDF5 file of the views' features, made if it is not there; null = <run>.features.h5
    views: int = 12  # of each photograph; a training pair is any two of them
    height: int = 240  # of the views, in pixels
    width: int = 320  # of the views, in pixels
    keypoints: int = 384  # max of a view
    threshold: float = 0.001  # min probability of a keypoint; below what use asks for, so that weak ones are known
    zoom: float = 1.5  # views show the photograph just covering them (1), or magnified up to this many times
    photometric: PhotometricConfig = field(
        default_factory=lambda: PhotometricConfig(strength=0.7, gaussian_noise=[1.0, 25.0], gamma=2.0, lamplight=4.0)
    )
    homography: HomographyConfig = field(
        default_factory=lambda: HomographyConfig(
            probability=0.95, rotation=45.0, scale=[0.6, 1.6], perspective=0.15, shear=0.1
        )
    )
    near: float = 3.0  # pixels: mutual nearest keypoints within this distance match
    far: float = 5.0  # pixels: a keypoint without another within this distance has no match; between, none is judged
    holdout: float = 0.1  # share of the photographs kept for validation
    held_out_pairs: int = 60  # of these, validated on
    overfit: int = 0  # learn this many pairs by heart; 0 = all
    workers: int = -1  # loader processes; -1 = by device

    def __post_init__(self) -> None:
        check_numbers(self, "data.", views=(2, 1000), keypoints=(8, 8192), threshold=(0, 1), zoom=(1, 8))
        check_numbers(self, "data.", height=(32, 4096), width=(32, 4096), near=(0.1, 100), holdout=(0.001, 0.9))
        check_numbers(self, "data.", held_out_pairs=(2,), overfit=(0,), workers=(-1, 1024))
        check_number("data.far", self.far, self.near, 1000)


@dataclass(frozen=True)
class MatcherModelConfig:
    """LightGlue. See `models/lightglue.py`."""

    input_dim: int = 0  # length of the descriptors, filled in
    channels: int = 128  # of the features that the layers pass on
    layers: int = 5  # each of self-attention and cross-attention
    heads: int = 4  # of attention
    network: str = ""  # hash of the network whose features it matches, filled in

    def __post_init__(self) -> None:
        check_numbers(self, "model.", layers=(1, 64), heads=(1, 64), channels=(4, 4096))
        if self.channels % (2 * self.heads):
            raise UserError(f"model.channels: found {self.channels}, expected a multiple of 2 x {self.heads} heads")


@dataclass(frozen=True)
class MatcherConfig:
    """Stage `train-matcher`."""

    stage: ClassVar[str] = "train-matcher"

    run: str = "runs/matcher"  # run folder
    seed: int = 0  # of weights, views and pairs
    network: str = "superpoint-lite"  # whose features are matched: as --model; it is not trained
    data: MatcherDataConfig = field(default_factory=MatcherDataConfig)
    model: MatcherModelConfig = field(default_factory=MatcherModelConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=5e-4))
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=lambda: TrainConfig(validate_every=500))

    def __post_init__(self) -> None:
        check_number("seed", self.seed, 0, 2**63)

    @property
    def features(self) -> str:
        """Return the file of the views' features."""
        return self.data.features or f"{self.run.rstrip('/')}.features.h5"
