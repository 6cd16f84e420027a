"""Learning rates as functions of progress 0..1, so that one schedule fits a budget in steps and one in minutes."""

import math
from dataclasses import dataclass

from superpoint.config import ScheduleConfig

WARMUP_START = 0.01  # share of the full rate at which a warm-up begins: a rate of 0 would waste the first step
ONECYCLE_START = 0.04  # share of the full rate at which a cycle begins: the "divide by 25" of the 1cycle policy


def rate_factor(progress: float, config: ScheduleConfig) -> float:
    """Return the share (0..1) of the full learning rate at `progress`, the share of the budget that is spent (clamped).

    "plateau" is 1 throughout, see `Plateau`.

    Source: cosine, Loshchilov & Hutter 2017 (arXiv 1608.03983), eq. 5 without restarts; onecycle, Smith & Topin 2018
    (arXiv 1708.07120) with cosine flanks; momentum is left alone.
    """
    progress = min(max(progress, 0.0), 1.0)
    if config.name == "onecycle":
        if progress < config.rise:
            return _cosine(ONECYCLE_START, 1.0, progress / config.rise)
        return _cosine(1.0, config.final, (progress - config.rise) / max(1.0 - config.rise, 1e-12))
    if config.name == "plateau":
        return 1.0
    if progress < config.warmup:
        return WARMUP_START + (1.0 - WARMUP_START) * progress / config.warmup
    if config.name == "constant":
        return 1.0
    if config.name == "step":
        return config.gamma ** sum(progress >= milestone for milestone in config.milestones)
    return _cosine(1.0, config.final, (progress - config.warmup) / max(1.0 - config.warmup, 1e-12))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


@dataclass
class Plateau:
    """Multiplies the rate by `gamma` after more than `patience` validations in a row without a better metric."""

    factor: float = 1.0
    best: float = -math.inf
    waited: int = 0

    def update(self, metric: float, config: ScheduleConfig) -> None:
        """Take note of one validation, if the schedule is "plateau"; NaN counts as no improvement."""
        if config.name != "plateau":
            return
        if metric > self.best:
            self.best, self.waited = metric, 0
            return
        self.waited += 1
        if self.waited > config.patience:
            self.factor *= config.gamma
            self.waited = 0
