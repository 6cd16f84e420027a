"""Learn one image by heart: the first test of a network, a loss or an optimiser. PASS within a minute, or why not.

python scripts/overfit_single_image.py
python scripts/overfit_single_image.py --index 7 optimizer.lr=0.003
python scripts/overfit_single_image.py --image street.jpg --labels street.csv
"""

import sys

from superpoint.cli import main

main(["overfit", *sys.argv[1:]])
