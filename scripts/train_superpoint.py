"""Train detector and descriptor together, from MagicPoint weights and labelled photographs.

python scripts/train_superpoint.py --config superpoint/lite data.kind=labelled data.labels=labels.h5 \
    data.images=photos
python scripts/train_superpoint.py data.overfit=1 train.steps=200 train.ema=0    # one pair by heart: does it learn?
python scripts/train_superpoint.py --resume                                      # go on after a stop or a crash
torchrun --nproc-per-node 2 scripts/train_superpoint.py --config superpoint/vgg
"""

import sys

from superpoint.cli import main

main(["train-superpoint", *sys.argv[1:]])
