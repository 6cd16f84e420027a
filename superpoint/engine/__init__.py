"""The training engine: a loop on Lightning Fabric that knows models, objectives and steps, but no keypoints."""

from superpoint.engine.fabric import make_fabric
from superpoint.engine.loop import TrainResult, train
from superpoint.engine.run import RunFolder

__all__ = ["RunFolder", "TrainResult", "make_fabric", "train"]
