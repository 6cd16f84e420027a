"""The network, its heads, its decoder and its weight files."""

from superpoint.models.loading import load_network
from superpoint.models.superpoint import SuperPoint, build_model

__all__ = ["SuperPoint", "build_model", "load_network"]
