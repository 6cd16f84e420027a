"""A trained network in use; this imports neither the training engine nor matplotlib or kornia."""

from superpoint.features import Features
from superpoint.inference.detector import DEFAULT_MODEL, FeatureDetector, load_model
from superpoint.matching import Matches, estimate_homography, match

__all__ = ["DEFAULT_MODEL", "FeatureDetector", "Features", "Matches", "estimate_homography", "load_model", "match"]
