"""Keypoints of images, drawn or as a feature file; tracks in a video.

python scripts/detect.py photos --out pictures
python scripts/detect.py photos --out features.h5 --resize 1600 --max-keypoints 2048
superpoint track street.mp4 --out tracks.mp4
"""

import sys

from superpoint.cli import main

main(["detect", *sys.argv[1:]])
