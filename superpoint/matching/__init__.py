"""Matches of two images by their descriptors, and the geometry between the images."""

from superpoint.config.inference import MATCHERS
from superpoint.matching.homography import ESTIMATORS, THRESHOLDS, Homography, estimate_homography, fit_homography
from superpoint.matching.matchers import Comparison, compare_descriptors, match, match_compared
from superpoint.matching.matches import Matches, matched_keypoints
from superpoint.matching.two_view import (
    Essential,
    Fundamental,
    Pose,
    camera_matrix,
    estimate_essential,
    estimate_fundamental,
    relative_pose,
)
from superpoint.matching.verdict import MODEL_KINDS, Explanation, explain, false_alarms, verdict
from superpoint.matching.views import VIEWS, Copies, ViewMatch, match_views

__all__ = [
    "ESTIMATORS", "MATCHERS", "MODEL_KINDS", "THRESHOLDS", "VIEWS",
    "Comparison", "Copies", "Essential", "Explanation", "Fundamental", "Homography", "Matches", "Pose", "ViewMatch",
    "camera_matrix", "compare_descriptors", "estimate_essential", "estimate_fundamental", "estimate_homography",
    "explain", "false_alarms", "fit_homography", "match", "match_compared", "match_views", "matched_keypoints",
    "relative_pose", "verdict",
]  # fmt: skip
