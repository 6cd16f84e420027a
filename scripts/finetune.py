"""Train a SuperPoint on, on a folder of photographs of your own, and compare before with after.

python scripts/finetune.py images=photos
python scripts/finetune.py images=photos weights=runs/superpoint run=runs/thermal training.train.minutes=60
python scripts/finetune.py images=photos labels=labels.h5 run=runs/thermal
python scripts/finetune.py images=photos run=runs/thermal --resume
"""

import sys

from superpoint.cli import main

main(["finetune", *sys.argv[1:]])
