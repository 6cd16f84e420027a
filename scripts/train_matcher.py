"""Train LightGlue on the features of a network, from photographs.

python scripts/train_matcher.py --config matcher/lite data.images=photos
python scripts/train_matcher.py --config matcher/lite data.images=photos data.overfit=1   # one pair by heart
python scripts/train_matcher.py --config matcher/lite data.images=photos --resume         # go on after a stop
"""

import sys

from superpoint.cli import main

main(["train-matcher", *sys.argv[1:]])
