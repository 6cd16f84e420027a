"""Configuration: dataclass defaults, then a YAML file, then `key.path=value`; frozen once read.

The defaults below are a complete recipe, so every stage runs without a file. A YAML file holds only what differs.
Model, loss and loop code receive values from here, never these objects' parents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from superpoint.checks import check_number, check_one_of, check_range
from superpoint.errors import UserError

T = TypeVar("T")

TEST_SEED = 2_000_003  # of the scenes that the final tables are measured on; nothing else may draw from it


@dataclass(frozen=True)
class PhotometricConfig:
    """Photometric augmentation; amplitudes in grey levels of 0..255 unless stated. See `data/photometric.py`."""

    enable: bool = True
    strength: float = 1.0  # multiplies every amplitude below; 0 leaves the image unchanged
    brightness: float = 50.0  # added constant, uniform in [-brightness, brightness]
    contrast: list[float] = field(default_factory=lambda: [0.4, 1.6])  # factor about the image mean
    gaussian_noise: list[float] = field(default_factory=lambda: [1.0, 40.0])  # standard deviation, log-uniform
    speckle_noise: float = 0.01  # share of pixels set to black or white, uniform in [0, speckle_noise]
    shade: list[float] = field(default_factory=lambda: [-0.5, 0.7])  # opacity of blurred dark (> 0) or light ellipses
    motion_blur: int = 5  # longest kernel in pixels; below 3 = never
    defocus_blur: float = 1.0  # largest Gaussian sigma in pixels
    probability: float = 0.5  # of each of the effects above, independently

    def __post_init__(self) -> None:
        check_number("data.photometric.strength", self.strength, 0, 10)
        check_number("data.photometric.brightness", self.brightness, 0, 255)
        check_range("data.photometric.contrast", self.contrast, 0.0, 10.0)
        check_range("data.photometric.gaussian_noise", self.gaussian_noise, 1e-3, 255.0)
        check_number("data.photometric.speckle_noise", self.speckle_noise, 0, 1)
        check_range("data.photometric.shade", self.shade, -1.0, 1.0)
        check_number("data.photometric.motion_blur", self.motion_blur, 0, 101)
        check_number("data.photometric.defocus_blur", self.defocus_blur, 0, 50)
        check_number("data.photometric.probability", self.probability, 0, 1)


@dataclass(frozen=True)
class HomographyConfig:
    """Random homographies, convexity-checked. See `geometry/homography.py`."""

    enable: bool = True
    probability: float = 0.6  # of warping a sample at all
    rotation: float = 45.0  # degrees, uniform in [-rotation, rotation]
    scale: list[float] = field(default_factory=lambda: [0.75, 1.5])  # zoom factor, log-uniform
    perspective: float = 0.15  # largest displacement of a corner, as a share of the image side
    shear: float = 0.1  # largest displacement shared by a side's two corners, as a share of the image side
    translation: float = 0.05  # of the centre, as a share of the image side
    border_margin: int = 3  # pixels by which the valid mask is eroded

    def __post_init__(self) -> None:
        check_range("data.homography.scale", self.scale, 0.05, 20.0)
        if self.scale[1] < 0.4:
            raise UserError(f"data.homography.scale: found {list(self.scale)}, expected a highest zoom of 0.4 or more")
        limits = {"probability": 1, "rotation": 180, "shear": 0.5, "translation": 1, "border_margin": 100}
        for key, limit in limits.items():
            check_number(f"data.homography.{key}", getattr(self, key), 0, limit)
        if not 0 <= self.perspective < 0.5:  # beyond, corners would cross
            raise UserError(f"data.homography.perspective: found {self.perspective}, expected >= 0 and < 0.5")


@dataclass(frozen=True)
class SyntheticConfig:
    """The synthetic-shapes generator. See `data/synthetic/`."""

    primitives: dict[str, float] = field(
        default_factory=lambda: {
            "lines": 1.0,
            "polygon": 1.0,
            "multiple_polygons": 1.0,
            "ellipses": 1.0,
            "star": 1.0,
            "checkerboard": 1.0,
            "stripes": 1.0,
            "cube": 1.0,
            "noise": 0.5,
        }
    )  # relative frequency of each primitive; 0 = never, one that is not named keeps its default
    compose: float = 0.5  # probability of several primitives in one image, each in a region of its own
    texture: float = 0.5  # probability that a background or a fill is textured rather than uniform
    min_contrast: float = 25.0  # least grey-level difference between a shape and what lies behind it

    def __post_init__(self) -> None:
        if not any(weight > 0 for weight in self.primitives.values()):
            raise UserError("data.synthetic.primitives: no primitive has a weight above 0")
        for name, weight in self.primitives.items():
            check_number(f"data.synthetic.primitives.{name}", weight, 0)
        for key, limit in {"compose": 1, "texture": 1, "min_contrast": 100}.items():
            check_number(f"data.synthetic.{key}", getattr(self, key), 0, limit)


@dataclass(frozen=True)
class DataConfig:
    """What the network sees."""

    kind: str = "synthetic"
    height: int = 120
    width: int = 160
    curriculum: int = 4000  # over this many first samples the augmentation grows from nothing to its full strength
    overfit: int = 0  # > 0: only this many samples, without augmentation, again and again
    workers: int = -1  # loader processes; -1 = one on CPU, up to 8 beside a GPU; 0 = in the training process
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)
    homography: HomographyConfig = field(default_factory=HomographyConfig)

    def __post_init__(self) -> None:
        check_one_of("data.kind", self.kind, ["synthetic"])
        check_number("data.height", self.height, 16)
        check_number("data.width", self.width, 16)
        check_number("data.curriculum", self.curriculum, 0)
        check_number("data.overfit", self.overfit, 0)
        check_number("data.workers", self.workers, -1)


@dataclass(frozen=True)
class ModelConfig:
    """Encoder and heads. See `models/superpoint.py`."""

    encoder: str = "vgg"  # a name in superpoint.backbones.ENCODERS
    head_channels: int = 256  # hidden channels of each head
    descriptor_dim: int = 0  # 0 = no descriptor head (MagicPoint)
    init: str = "kaiming"  # kaiming | xavier | trunc_normal

    def __post_init__(self) -> None:
        check_one_of("model.init", self.init, ["kaiming", "xavier", "trunc_normal"])
        check_number("model.head_channels", self.head_channels, 1)
        check_number("model.descriptor_dim", self.descriptor_dim, 0)


@dataclass(frozen=True)
class LossConfig:
    """Detector loss. See `losses.detector_loss`."""

    positive_weight: float = 3.0  # weight of cells that hold a point
    dustbin_weight: float = 1.0  # weight of cells that hold none
    focal_gamma: float = 0.0  # 0 = plain cross-entropy

    def __post_init__(self) -> None:
        check_number("loss.positive_weight", self.positive_weight, 0, above=True)
        check_number("loss.dustbin_weight", self.dustbin_weight, 0, above=True)
        check_number("loss.focal_gamma", self.focal_gamma, 0)


@dataclass(frozen=True)
class OptimizerConfig:
    name: str = "adamw"  # adamw | adam | sgd
    lr: float = 1e-3
    weight_decay: float = 1e-4
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])  # adam, adamw
    momentum: float = 0.9  # sgd
    nesterov: bool = False  # sgd

    def __post_init__(self) -> None:
        check_one_of("optimizer.name", self.name, ["adamw", "adam", "sgd"])
        check_number("optimizer.lr", self.lr, 0, above=True)
        check_number("optimizer.weight_decay", self.weight_decay, 0)
        check_number("optimizer.momentum", self.momentum, 0, 0.9999)
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
        for key in ("warmup", "final", "rise"):
            check_number(f"schedule.{key}", getattr(self, key), 0, 1)
        if not all(0 < milestone < 1 for milestone in self.milestones):
            raise UserError(f"schedule.milestones: found {list(self.milestones)}, expected shares > 0 and < 1")
        check_number("schedule.gamma", self.gamma, 0, 1, above=True)
        check_number("schedule.patience", self.patience, 0)


@dataclass(frozen=True)
class TrainConfig:
    """The loop. A run ends at `steps` optimiser steps or after `minutes`, whichever is set and comes first."""

    steps: int | None = None
    minutes: float | None = 60.0
    batch_size: int = 8  # samples per optimiser step, over all processes and accumulated parts
    accumulate: int = 1  # parts in which a process computes its share of the batch
    clip_norm: float = 1.0  # largest gradient norm; 0 = no clipping
    ema: float = 0.999  # decay of the averaged weights that are validated and exported; 0 = none
    precision: str = "auto"  # auto | fp32 | bf16
    device: str = "auto"  # auto | cpu | cuda | mps
    channels_last: bool = True
    compile: bool = False  # torch.compile; on CPU it needs a C++ compiler
    sync_batchnorm: bool = False  # batch-norm statistics over all processes (GPUs)
    log_every: int = 20  # steps between lines of metrics.jsonl
    validate_every: int = 1000  # steps
    checkpoint_minutes: float = 2.0  # between writes of checkpoints/last.ckpt, besides those at validations
    checkpoint_every: int = 0  # steps between writes of it; 0 = by the clock alone

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise UserError("train: neither steps nor minutes is set; set at least one")
        check_number("train.steps", self.steps, 1)
        check_number("train.minutes", self.minutes, 0, above=True)
        for key in ("batch_size", "accumulate", "log_every", "validate_every"):
            check_number(f"train.{key}", getattr(self, key), 1)
        for key in ("clip_norm", "checkpoint_minutes", "checkpoint_every"):
            check_number(f"train.{key}", getattr(self, key), 0)
        check_number("train.ema", self.ema, 0, 0.999999)
        check_one_of("train.precision", self.precision, ["auto", "fp32", "bf16"])
        check_one_of("train.device", self.device, ["auto", "cpu", "cuda", "mps"])


@dataclass(frozen=True)
class DecodeConfig:
    """From logits to points. See `models/decode.py`."""

    nms_radius: int = 4  # pixels
    threshold: float = 0.015  # least probability
    border: int = 4  # points nearer to the image edge than this many pixels are dropped
    max_points: int = 0  # strongest points kept; 0 = all
    subpixel: bool = True

    def __post_init__(self) -> None:
        check_number("decode.nms_radius", self.nms_radius, 0, 1000)
        check_number("decode.threshold", self.threshold, 0, 1)
        check_number("decode.border", self.border, 0)
        check_number("decode.max_points", self.max_points, 0)


@dataclass(frozen=True)
class ValidationConfig:
    """Average precision on synthetic shapes the network has not seen (their seed differs from the run's)."""

    images: int = 200  # during training, half clean, half noisy
    final_images: int = 1000  # for the table at the end, each both clean and noisy
    seed: int = 1_000_003

    def __post_init__(self) -> None:
        check_number("validation.images", self.images, 2)
        check_number("validation.seed", self.seed, 0, 2**63)
        if self.seed == TEST_SEED:
            raise UserError(f"validation.seed: found {TEST_SEED}, which draws the final test; take another")
        check_number("validation.final_images", self.final_images, 2)


@dataclass(frozen=True)
class MagicPointConfig:
    """Stage `train-magicpoint`."""

    run: str = "runs/magicpoint"  # run folder
    seed: int = 0
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
        if self.model.descriptor_dim:
            raise UserError(
                f"model.descriptor_dim: found {self.model.descriptor_dim}, expected 0: this stage trains no descriptor"
            )


def load_config(cls: type[T], path: str | Path | None = None, overrides: Sequence[str] = ()) -> T:
    """The configuration of a stage: defaults of `cls`, then the YAML file, then `key.path=value`, each over the last.

    Raises: UserError, one line that names the file or key, for a missing or malformed file, an unknown key or a value
    of the wrong type or range.
    """
    config = OmegaConf.structured(cls)
    if path is not None:
        config = _merge(config, _read_yaml(Path(path)), str(path))
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise UserError(f"'{override}': found no '=', expected key.path=value (options start with --)")
        config = _merge(config, _parse_override(override), override)
    try:
        return cast(T, OmegaConf.to_object(config))
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere, for instance
        raise UserError(f"{getattr(error, 'full_key', None) or 'configuration'}: {_first_line(error)}") from error


def dump_config(config: Any) -> str:
    """A configuration object as YAML, complete, in the order of its definition."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _read_yaml(path: Path) -> DictConfig:
    if not path.is_file():
        raise UserError(f"{path}: no such config file")
    try:
        content = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    except YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, DictConfig):
        raise UserError(f"{path}: found a list or a single value, expected a mapping of keys to values")
    return content


def _parse_override(override: str) -> DictConfig:
    try:
        return OmegaConf.from_dotlist([override])
    except (OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"'{override}': not key.path=value ({' '.join(str(error).split())})") from error


def _merge(config: DictConfig, addition: DictConfig, source: str) -> DictConfig:
    try:
        for key in OmegaConf.missing_keys(addition):  # OmegaConf would pass over them
            raise UserError(f"{source}: {key}: found ???, expected a value")
        return cast(DictConfig, OmegaConf.merge(config, addition))
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if getattr(error, "full_key", None) else ""
        raise UserError(f"{source}: {key}{_first_line(error)}") from error


def _first_line(error: OmegaConfBaseException) -> str:
    return str(error.msg or error).split("\n")[0]
