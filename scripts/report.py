"""Everything about a training run on one HTML page.

python scripts/report.py runs/quick          # runs/quick/report.html
"""

import sys

from superpoint.cli import main

main(["report", *sys.argv[1:]])
