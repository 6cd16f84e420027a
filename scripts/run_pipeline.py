"""The whole chain from nothing: synthetic shapes, MagicPoint, labels of photographs, SuperPoint, evaluation.

python scripts/run_pipeline.py --config pipeline/quick                           # 30 minutes on 2 cores
python scripts/run_pipeline.py --config pipeline/quick images=photos run=runs/mine
python scripts/run_pipeline.py --config pipeline/quick images=photos run=runs/mine --resume
python scripts/run_pipeline.py --config pipeline/quick run=runs/mine --from superpoint
"""

import sys

from superpoint.cli import main

main(["pipeline", *sys.argv[1:]])
