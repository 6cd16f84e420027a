"""Train a classifier on images with one class each: a folder with a sub-folder a class, a CSV list, or IDX files.

python scripts/train_classifier.py data.train=photos                                       # ResNet-18, 30 epochs
python scripts/train_classifier.py --config classifier/mnist data.train=train-images-idx3-ubyte.gz
python scripts/train_classifier.py data.train=photos weights=resnet18.pth                  # start from ImageNet
python scripts/train_classifier.py data.train=photos --resume                              # go on after a stop
"""

import sys

from superpoint.cli import main

main(["train-classifier", *sys.argv[1:]])
