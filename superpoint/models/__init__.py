"""The network, its heads, its decoder and its weight files."""

from superpoint.models.superpoint import SuperPoint, build_model
from superpoint.models.weights import load_network

__all__ = ["SuperPoint", "build_model", "load_network"]
