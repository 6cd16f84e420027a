"""Download, verify and unpack the photographs of COCO; the annotations are not needed here.

python datasets/coco/prepare.py                               # val2017: 5,000 images, 0.8 GB
python datasets/coco/prepare.py --split train2017             # 118,287 images, 19.3 GB; twice that while unpacking
python datasets/coco/prepare.py --split val2017 --archive FILE    # downloaded by other means
python datasets/coco/prepare.py --check

Run again, it goes on where it was stopped. Exit code 1: something is missing or damaged; 2: it could not be done.
"""

from dataclasses import dataclass
from pathlib import Path

from superpoint.data.recipes.recipe import Archive, claim, obtain, recipe_options, report, run, write_split


@dataclass(frozen=True)
class Split:
    images: int
    size: int  # of the archive, bytes
    sha256: str


# Sizes and checksums as tensorflow/datasets states them (tensorflow_datasets/url_checksums/coco.txt); pytorch/vision
# has the same checksums, and these numbers of images (torchvision/prototype/datasets/_builtin/coco.py).
SPLITS = {
    "val2017": Split(5_000, 815_585_330, "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05"),
    "train2017": Split(118_287, 19_336_861_798, "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929"),
    "val2014": Split(40_504, 6_645_013_297, "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0"),
    "train2014": Split(82_783, 13_510_573_713, "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775"),
}
# Plain http: the server's certificate is not one of its name. The checksum is what tells the right file.
SERVER = "http://images.cocodataset.org/zips"


def main() -> int:
    parser = recipe_options(__doc__, Path(__file__).resolve().parent)
    parser.add_argument("--split", choices=SPLITS, default="val2017", help="default: %(default)s")
    options = parser.parse_args()
    split, images = SPLITS[options.split], options.out / "images" / options.split
    with claim(options.out):
        if not options.check:
            # Photographs hardly shrink in a zip: 1.5 times its size is ample.
            archive = Archive(f"{SERVER}/{options.split}.zip", split.size, split.sha256, split.size * 3 // 2)
            obtain(archive, images, options)
        found = sorted(images.glob("*.jpg"))
        problems = [f"{path}: empty" for path in found if path.stat().st_size == 0]
        if len(found) != split.images:
            problems.insert(0, f"{images}: found {len(found)} images, expected {split.images}")
        if not problems and not options.check:
            write_split(options.out, options.split, [f"{options.split}/{path.name}" for path in found])
    return report(images, f"{len(found)} images", problems)


if __name__ == "__main__":
    run(main)
