"""Stage `train-magicpoint`, and what all trainings have: optimiser, learning rate, loop."""

from dataclasses import dataclass, field
from typing import ClassVar

from superpoint.config.data import DataConfig
from superpoint.config.inference import DEVICES, PRECISIONS
from superpoint.config.model import DecodeConfig, LossConfig, ModelConfig
from superpoint.errors import UserError, check_number, check_numbers, check_one_of

TEST_SEED = 2_000_003  # of the scenes that the final tables are measured on; nothing else may draw from it


@dataclass(frozen=True)
class OptimizerConfig:
    name: str = "adamw"  # adamw | adam | sgd
    lr: float = 1e-3  # learning rate, the highest of the schedule
    weight_decay: float = 1e-4  # share of the weights taken off per step, times the learning rate
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])  # adam, adamw
    momentum: float = 0.9  # sgd
    nesterov: bool = False  # sgd
    layer_decay: float | None = None  # each encoder stage learns at this share of the rate of the one behind; null = 1

    def __post_init__(self) -> None:
        check_one_of("optimizer.name", self.name, ["adamw", "adam", "sgd"])
        check_number("optimizer.lr", self.lr, 0, above=True)
        check_numbers(self, "optimizer.", weight_decay=(0,), momentum=(0, 0.9999))
        check_number("optimizer.layer_decay", self.layer_decay, 0, 1, above=True)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"optimizer.betas: found {list(self.betas)}, expected two numbers >= 0 and < 1")
        if self.nesterov and self.momentum == 0:
            raise UserError("optimizer.nesterov: needs optimizer.momentum > 0, found 0")


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate over the run, as a function of progress 0..1 (so it fits a budget in steps or in minutes)."""

    name: str = "cosine"  # constant | step | cosine | onecycle | plateau
    warmup: float = 0.02  # share of the budget spent rising linearly to the full rate (constant, step, cosine)
    final: float = 0.01  # last rate as a share of the full one (cosine, onecycle)
    milestones: list[float] = field(default_factory=lambda: [0.6, 0.85])  # step: at these shares of the budget ...
    gamma: float = 0.1  # ... (or at a plateau) the rate is multiplied by this
    patience: int = 3  # plateau: validations without improvement
    rise: float = 0.3  # onecycle: share of the budget spent rising

    def __post_init__(self) -> None:
        check_one_of("schedule.name", self.name, ["constant", "step", "cosine", "onecycle", "plateau"])
        check_numbers(self, "schedule.", warmup=(0, 1), final=(0, 1), rise=(0, 1), patience=(0,))
        if not all(0 < milestone < 1 for milestone in self.milestones):
            raise UserError(f"schedule.milestones: found {list(self.milestones)}, expected shares > 0 and < 1")
        check_number("schedule.gamma", self.gamma, 0, 1, above=True)


@dataclass(frozen=True)
class TrainConfig:
    """The loop. A run ends at `steps` optimiser steps or after `minutes`, whichever is set and comes first."""

    steps: int | None = None  # budget in steps; null = no such limit
    minutes: float | None = 60.0  # budget in minutes; null = no such limit
    batch_size: int = 8  # samples per optimiser step, over all processes and accumulated parts
    accumulate: int = 1  # parts in which a process computes its share of the batch
    clip_norm: float = 1.0  # largest gradient norm; 0 = no clipping
    ema: float = 0.999  # decay of the averaged weights that are validated and exported; 0 = none
    precision: str = "auto"  # auto | fp32 | bf16
    device: str = "auto"  # auto | cpu | cuda | mps
    channels_last: bool = True  # memory layout of images and weights, the faster one on most machines
    compile: bool = False  # torch.compile; on CPU it needs a C++ compiler
    sync_batchnorm: bool = False  # batch-norm statistics over all processes (GPUs)
    log_every: int = 20  # steps between lines of metrics.jsonl
    validate_every: int = 1000  # steps
    probe_every: int = 100  # steps between looks into the network, see `training.probes`; 0 = never
    checkpoint_minutes: float = 2.0  # between writes of checkpoints/last.ckpt, besides those at validations
    checkpoint_every: int = 0  # steps between writes of it; 0 = by the clock alone
    report: bool = True  # at the end: the doctor's checks and report.html

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise UserError("train: neither steps nor minutes is set; set at least one")
        check_number("train.minutes", self.minutes, 0, above=True)
        check_numbers(
            self, "train.", steps=(1,), batch_size=(1,), accumulate=(1,), log_every=(1,), validate_every=(1,),
            clip_norm=(0,), checkpoint_minutes=(0,), checkpoint_every=(0,), probe_every=(0,), ema=(0, 0.999999),
        )  # fmt: skip
        check_one_of("train.precision", self.precision, PRECISIONS)
        check_one_of("train.device", self.device, DEVICES)


@dataclass(frozen=True)
class ValidationConfig:
    """Average precision on what the network has not seen: synthetic shapes of another seed, photographs held out."""

    images: int = 200  # during training, half clean, half noisy; also the max of photographs
    final_images: int = 1000  # for the table at the end, each both clean and noisy
    seed: int = 1_000_003  # of the scenes that are validated on

    def __post_init__(self) -> None:
        check_numbers(self, "validation.", images=(2,), final_images=(2,), seed=(0, 2**63))
        if self.seed == TEST_SEED:
            raise UserError(f"validation.seed: found {TEST_SEED}, which draws the final test; take another")


@dataclass(frozen=True)
class MagicPointConfig:
    """Stage `train-magicpoint`."""

    stage: ClassVar[str] = "train-magicpoint"

    run: str = "runs/magicpoint"  # run folder
    seed: int = 0  # of weights, samples and augmentation
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
