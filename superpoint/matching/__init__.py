"""Matches of two images by their descriptors, and the geometry between the images."""

from superpoint.matching.homography import ESTIMATORS, THRESHOLDS, Homography, estimate_homography, fit_homography
from superpoint.matching.matchers import MATCHERS, Comparison, compare_descriptors, match, match_compared
from superpoint.matching.matches import Matches, matched_keypoints
from superpoint.matching.verdict import verdict

__all__ = [
    "ESTIMATORS",
    "MATCHERS",
    "THRESHOLDS",
    "Comparison",
    "Homography",
    "Matches",
    "compare_descriptors",
    "estimate_homography",
    "fit_homography",
    "match",
    "match_compared",
    "matched_keypoints",
    "verdict",
]
