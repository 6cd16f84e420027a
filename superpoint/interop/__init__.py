"""Features and matches for other programs: hloc, COLMAP, LightGlue, kornia, OpenCV; weights from other programs.

Features and matches are those of `superpoint.inference`: keypoints (x, y) with pixel centres at integers. Each module
states how its program differs from that.
"""
