"""Train MagicPoint on synthetic shapes; needs no data.

python scripts/train_magicpoint.py                                             # one hour on 2 cores
python scripts/train_magicpoint.py --config magicpoint/quick      # five minutes
python scripts/train_magicpoint.py --resume                                    # go on after a stop or a crash
torchrun --nproc-per-node 2 scripts/train_magicpoint.py --config magicpoint/paper
"""

import sys

from superpoint.cli import main

main(["train-magicpoint", *sys.argv[1:]])
