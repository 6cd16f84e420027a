"""Features and matches for other programs (hloc, COLMAP, LightGlue, kornia, OpenCV); weights from other programs."""
