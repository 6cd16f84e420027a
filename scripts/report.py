"""Everything about a training run, or several, on one HTML page.

python scripts/report.py runs/quick                                # runs/quick/report.html
python scripts/report.py runs/a runs/b --out comparison.html       # curves overlaid, configurations compared
"""

import sys

from superpoint.cli import main

main(["report", *sys.argv[1:]])
