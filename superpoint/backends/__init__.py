"""Runtimes that a trained network can compute in, all called alike: torch, OpenVINO, ONNX Runtime."""

from superpoint.backends.network import BACKENDS, PRECISIONS, Network, make_network, resolve

__all__ = ["BACKENDS", "PRECISIONS", "Network", "make_network", "resolve"]
