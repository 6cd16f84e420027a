"""Match two images and draw the result; the numbers go to matches.json beside the picture.

python scripts/match_images.py one.jpg two.jpg --out matches.png
python scripts/match_images.py one.jpg two.jpg --matcher ratio --estimator magsac --json
"""

import sys

from superpoint.cli import main

main(["match", *sys.argv[1:]])
