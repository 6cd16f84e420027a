"""Draw the detections of a trained network on the photographs that scikit-image ships.

python scripts/detect_samples.py --model runs/magicpoint --threshold 0.05
"""

import sys

from superpoint.cli import main

main(["detect-samples", *sys.argv[1:]])
