"""Measure a trained network beside the classical detectors.

python scripts/evaluate.py synthetic runs/magicpoint
"""

import sys

from superpoint.cli import main

main(["evaluate", *sys.argv[1:]])
