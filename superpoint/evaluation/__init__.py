"""Measures of detections against ground truth, the classical detectors beside the network, and their protocols."""
