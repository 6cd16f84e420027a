"""Label images: points by homographic adaptation, or plain detections, in one feature file (HDF5).

python scripts/export_detections.py photos --out labels.h5                                    # labels for training
python scripts/export_detections.py "photos/**/*.jpg" --out features.h5 adaptation=none resize=1024
python scripts/export_detections.py photos --out labels.h5 --resume                           # after a stop or a crash
torchrun --nproc-per-node 2 scripts/export_detections.py "train-{000..127}.tar" --out labels.h5
"""

import sys

from superpoint.cli import main

main(["export-detections", *sys.argv[1:]])
