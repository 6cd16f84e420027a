"""Losses: pure functions in fp32 that know no loop, device or logger."""

from superpoint.losses.descriptor import dense_hinge_loss, dual_softmax_loss
from superpoint.losses.detector import INITIAL_DETECTOR_LOSS, detector_loss
from superpoint.losses.position import position_loss

__all__ = [
    "INITIAL_DETECTOR_LOSS",
    "dense_hinge_loss",
    "detector_loss",
    "dual_softmax_loss",
    "position_loss",
]
