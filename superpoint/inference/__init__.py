"""Use of a trained network: features of images, their matches, the homography between two images, tracks in a video.

Neither importing this nor loading a model imports the training engine, matplotlib or kornia.
"""

from superpoint.features import Features
from superpoint.inference.detector import DEFAULT_MODEL, FeatureDetector, load_model
from superpoint.matching import Matches, estimate_homography, match

__all__ = ["DEFAULT_MODEL", "FeatureDetector", "Features", "Matches", "estimate_homography", "load_model", "match"]
