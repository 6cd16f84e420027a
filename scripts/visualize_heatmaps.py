"""Heatmap, dustbin, logits and wrong cells of a detector on scenes and photographs, of one checkpoint or several.

python scripts/visualize_heatmaps.py --model runs/lite
python scripts/visualize_heatmaps.py --model runs/lite --index 12 --index 4000
python scripts/visualize_heatmaps.py --model runs/lite --model magicpoint --image street.jpg --labels street.csv
"""

import sys

from superpoint.cli import main

main(["visualize-heatmaps", *sys.argv[1:]])
