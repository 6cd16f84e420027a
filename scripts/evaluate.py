"""Measure networks beside the classical detectors: on synthetic shapes, and on pairs of views.

python scripts/evaluate.py synthetic --model runs/magicpoint
python scripts/evaluate.py repeatability --extractors magicpoint,adapted:magicpoint,harris,random --images photos
python scripts/evaluate.py pairs --data datasets/hpatches/images --extractors runs/superpoint,sift,orb protocol=paper
torchrun --nproc-per-node 2 scripts/evaluate.py pairs --data datasets/hpatches/images --extractors runs/superpoint,sift
"""

import sys

from superpoint.cli import main

main(["evaluate", *sys.argv[1:]])
