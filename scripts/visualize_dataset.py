"""Contact sheets of the synthetic shapes and of augmented training samples.

python scripts/visualize_dataset.py --out runs/dataset
python scripts/visualize_dataset.py --index 1234 data.photometric.strength=0.5
"""

import sys

from superpoint.cli import main

main(["visualize-dataset", *sys.argv[1:]])
