"""Runtimes that a trained network can compute in, all called alike: torch, OpenVINO, ONNX Runtime."""

from superpoint.backends.choice import make_network, resolve
from superpoint.backends.network import Network
from superpoint.config.inference import BACKENDS, PRECISIONS

__all__ = ["BACKENDS", "PRECISIONS", "Network", "make_network", "resolve"]
