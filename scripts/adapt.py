"""Label a folder of photographs by homographic adaptation and train on the labels.

python scripts/adapt.py --config adapt/default images=photos run=runs/adapt
python scripts/adapt.py --config adapt/default images=photos run=runs/adapt --resume
python scripts/adapt.py images=photos rounds=2 training.train.minutes=30
"""

import sys

from superpoint.cli import main

main(["adapt", *sys.argv[1:]])
