"""Say what is wrong with a training run: 15 checks of data, labels, network, output and history.

python scripts/doctor.py runs/quick
python scripts/doctor.py runs/quick --json > findings.json      # nothing else is printed
python scripts/doctor.py runs/quick --no-range-test             # without 60 short training steps
"""

import sys

from superpoint.cli import main

main(["doctor", *sys.argv[1:]])
