"""Layers, parameters and FLOPs of a network, and its drawing."""
