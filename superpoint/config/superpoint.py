"""Stage `train-superpoint`: what it adds to the configuration of `train-magicpoint`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from superpoint.config.data import DataConfig, HomographyConfig, PhotometricConfig
from superpoint.config.loading import load_config, read_stage
from superpoint.config.model import ModelConfig
from superpoint.config.training import MagicPointConfig, TrainConfig, ValidationConfig
from superpoint.errors import UserError, check_number, check_numbers, check_one_of

DESCRIPTOR_LOSSES = ("dual_softmax", "dense_hinge")
BALANCES = ("fixed", "auto")
SPACING = 6  # pixels: correspondences nearer to each other than this are hardly told apart by cells of 8


@dataclass(frozen=True)
class PairDataConfig(DataConfig):
    """Pairs of views, see `data/warped_pairs.py`. Each view is warped, overfitted ones too."""

    height: int = 192  # of both views
    width: int = 192  # of both views
    correspondences: int = 192  # max in a pair; never more than one in 6 x 6 pixels
    zoom: float = 2.0  # views show the photograph just covering them (1), or magnified up to this many times
    min_overlap: float = 0.3  # share of the second view that the first shows too; less is drawn again
    occlusion: float = 0.0  # probability that parts of a view are hidden by pieces of another photograph
    photometric: PhotometricConfig = field(
        default_factory=lambda: PhotometricConfig(
            strength=0.7, gaussian_noise=[1.0, 25.0], defocus_blur=2.0, gamma=2.5, lamplight=12.0, jpeg_quality=25
        )
    )
    homography: HomographyConfig = field(
        default_factory=lambda: HomographyConfig(
            probability=0.9, rotation=30.0, scale=[0.8, 1.3], perspective=0.12, shear=0.08
        )
    )

    def __post_init__(self) -> None:
        check_one_of("data.kind", self.kind, ["synthetic", "labelled"])
        super().__post_init__()
        check_numbers(self, "data.", correspondences=(2, 4096), zoom=(1, 8))
        check_numbers(self, "data.", min_overlap=(0.01, 0.9), occlusion=(0, 1))

    @property
    def rows(self) -> int:
        """Return the rows of correspondences in a sample."""
        return max(2, min(self.correspondences, self.height * self.width // SPACING**2))


@dataclass(frozen=True)
class DescriptorLossConfig:
    """The descriptor's part of the loss. See `losses/descriptor.py` and `objectives.JointObjective`."""

    name: str = "dual_softmax"  # dual_softmax | dense_hinge
    balance: str = "fixed"  # fixed | auto: both parts pull equally hard, whatever their scale
    weight: float = 1.0  # of the descriptor loss beside the detector loss; with balance=auto, after balancing
    temperature: float = 0.05  # dual_softmax: similarities are divided by it
    positive_margin: float = 1.0  # dense_hinge: similarities of matches above this cost nothing
    negative_margin: float = 0.2  # dense_hinge: similarities of others below this cost nothing
    positive_weight: float = 250.0  # dense_hinge: weight of matching cells, lambda_d of the paper
    radius: float = 8.0  # pixels: dense_hinge, cells this near match; the others, points this near are no wrong answer

    def __post_init__(self) -> None:
        check_one_of("descriptor.name", self.name, DESCRIPTOR_LOSSES)
        check_one_of("descriptor.balance", self.balance, BALANCES)
        for key in ("weight", "positive_weight"):
            check_number(f"descriptor.{key}", getattr(self, key), 0, above=True)
        margin = (-1, 1)  # of cosines
        check_numbers(self, "descriptor.", positive_margin=margin, negative_margin=margin)
        check_numbers(self, "descriptor.", temperature=(0.001, 10), radius=(0, 100))


@dataclass(frozen=True)
class PairValidationConfig(ValidationConfig):
    """Matching and homography estimation on generated pairs of photographs that were held out."""

    pairs: int = 60  # during training, half of other viewpoint, half of other light
    final_pairs: int = 200  # for the table at the end, with SIFT beside the network
    height: int = 240  # of the views
    width: int = 320  # of the views
    max_keypoints: int = 500  # strongest points of a view that are matched
    images: int = 90  # synthetic shapes, for what the detector has forgotten
    final_images: int = 180

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, "validation.", pairs=(2,), final_pairs=(2,), max_keypoints=(4,))
        check_numbers(self, "validation.", height=(32, 4096), width=(32, 4096))


@dataclass(frozen=True)
class SuperPointConfig(MagicPointConfig):
    """Stage `train-superpoint`."""

    stage: ClassVar[str] = "train-superpoint"

    run: str = "runs/superpoint"
    weights: str | None = "magicpoint"  # of a MagicPoint or SuperPoint; None = from nothing
    data: PairDataConfig = field(default_factory=PairDataConfig)
    model: ModelConfig = field(default_factory=lambda: ModelConfig(descriptor_dim=256))
    descriptor: DescriptorLossConfig = field(default_factory=DescriptorLossConfig)
    position: float = 1.0  # weight of the distance in pixels of shared keypoints: `losses/position.py`; 0 = without
    train: TrainConfig = field(default_factory=lambda: TrainConfig(validate_every=500))
    validation: PairValidationConfig = field(default_factory=PairValidationConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("position", self.position, 0)

    def check_model(self) -> None:
        if not self.model.descriptor_dim:
            raise UserError("model.descriptor_dim: found 0, expected the length of the descriptors, such as 256 or 64")


def load_run_config(path: str | Path, overrides: Sequence[str] = ()) -> MagicPointConfig:
    """Load the configuration of either training stage; errors as `load_config`."""
    stages = {cls.stage: cls for cls in (MagicPointConfig, SuperPointConfig)}
    stage = read_stage(path)
    if stage not in stages:
        raise UserError(f"{path} is a configuration of {stage}; this command takes one of {', '.join(stages)}")
    return load_config(stages[stage], path, overrides)
