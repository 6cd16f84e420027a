"""Configuration: dataclass defaults, then a YAML file, then `key.path=value`; frozen once read.

The defaults are a complete recipe; a YAML file holds only what differs.
"""

from superpoint.config.chains import AdaptConfig, ChainConfig, FinetuneConfig, PipelineConfig
from superpoint.config.data import DataConfig, HomographyConfig, PhotometricConfig, SyntheticConfig
from superpoint.config.labelling import AdaptationConfig, LabellingConfig
from superpoint.config.loading import dump_config, load_config, read_stage
from superpoint.config.model import DecodeConfig, LossConfig, ModelConfig
from superpoint.config.superpoint import (
    DescriptorLossConfig,
    PairDataConfig,
    PairValidationConfig,
    SuperPointConfig,
    load_run_config,
)
from superpoint.config.training import (
    TEST_SEED,
    MagicPointConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    ValidationConfig,
)

__all__ = [
    "TEST_SEED",
    "AdaptConfig",
    "AdaptationConfig",
    "ChainConfig",
    "DataConfig",
    "DecodeConfig",
    "DescriptorLossConfig",
    "FinetuneConfig",
    "HomographyConfig",
    "LabellingConfig",
    "LossConfig",
    "MagicPointConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PairDataConfig",
    "PairValidationConfig",
    "PhotometricConfig",
    "PipelineConfig",
    "ScheduleConfig",
    "SuperPointConfig",
    "SyntheticConfig",
    "TrainConfig",
    "ValidationConfig",
    "dump_config",
    "load_config",
    "load_run_config",
    "read_stage",
]
