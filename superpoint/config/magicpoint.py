"""Stage `train-magicpoint`."""

from dataclasses import dataclass, field
from typing import ClassVar

from superpoint.config.data import DataConfig
from superpoint.config.model import DecodeConfig, LossConfig, ModelConfig
from superpoint.config.training import OptimizerConfig, ScheduleConfig, TrainConfig
from superpoint.errors import UserError, check_number, check_numbers

TEST_SEED = 2_000_003  # of the scenes that the final tables are measured on; nothing else may draw from it


@dataclass(frozen=True)
class ValidationConfig:
    """Average precision on what the network has not seen: synthetic shapes of another seed, photographs held out."""

    images: int = 200  # during training, half clean, half noisy; also the max of photographs
    final_images: int = 1000  # for the table at the end, each both clean and noisy
    seed: int = 1_000_003

    def __post_init__(self) -> None:
        check_numbers(self, "validation.", images=(2,), final_images=(2,), seed=(0, 2**63))
        if self.seed == TEST_SEED:
            raise UserError(f"validation.seed: found {TEST_SEED}, which draws the final test; take another")


@dataclass(frozen=True)
class MagicPointConfig:
    """Stage `train-magicpoint`."""

    stage: ClassVar[str] = "train-magicpoint"

    run: str = "runs/magicpoint"  # run folder
    seed: int = 0
    weights: str | None = None  # what training starts from: a run folder, weights or their name; None = from nothing
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        check_number("seed", self.seed, 0, 2**63)
        if self.seed in (TEST_SEED, self.validation.seed):
            raise UserError(f"seed: found {self.seed}, which draws the scenes that are tested on; take another")
        self.check_model()

    def check_model(self) -> None:
        """Refuse a network that the stage cannot train."""
        if self.model.descriptor_dim:
            raise UserError(
                f"model.descriptor_dim: found {self.model.descriptor_dim}, expected 0: this stage trains no descriptor"
            )
