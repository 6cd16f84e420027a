"""Compare SGD learning rates and momenta in short runs on one batch; needs no data, takes about a minute.

python scripts/lr_study.py
python scripts/lr_study.py --rates 0.01,0.1,1,10 --momenta 0,0.5,0.9,0.99 --steps 200
"""

import sys

from superpoint.cli import main

main(["lr-study", *sys.argv[1:]])
