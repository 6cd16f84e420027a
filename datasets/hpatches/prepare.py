"""Download, verify and unpack the full image sequences of HPatches (1.3 GB), and check them.

python datasets/hpatches/prepare.py                           # 116 sequences in datasets/hpatches/images
python datasets/hpatches/prepare.py --without-large           # 108; the other eight in datasets/hpatches/large
python datasets/hpatches/prepare.py --archive FILE            # downloaded by other means
python datasets/hpatches/prepare.py --check                   # only look at what is there

Run again, it goes on where it was stopped. Exit code 1: something is missing or damaged; 2: it could not be done.
"""

from pathlib import Path

from superpoint.data.recipes.hpatches import LARGE, find_problems, list_images, set_large_apart
from superpoint.data.recipes.recipe import Archive, claim, obtain, recipe_options, report, run, write_split

# The address is that of the authors' README since 2025 (github.com/hpatches/hpatches-dataset, commit fd79bca); the
# first one, icvl.ee.ic.ac.uk/vbalnt/hpatches/hpatches-sequences-release.tar.gz, no longer answers. Size and checksum:
# see README.md beside this file.
HPATCHES = Archive(
    "https://huggingface.co/datasets/vbalnt/hpatches/resolve/main/hpatches-sequences-release.zip",
    size=1_279_545_572,
    sha256="99cf7e1ca167896eb4ca2fe3d903beff6566243a3c0c8e07a13a2596648ad670",
    max_bytes=16 << 30,
)


def main() -> int:
    parser = recipe_options(__doc__, Path(__file__).resolve().parent)
    parser.add_argument("--without-large", action="store_true", help=f"set apart {', '.join(LARGE)}")
    options = parser.parse_args()
    images, apart = options.out / "images", options.without_large
    with claim(options.out):
        if not options.check:
            obtain(HPATCHES, images, options)
            set_large_apart(images, options.out / "large", apart=apart)
        problems = find_problems(images, without_large=apart)
        if not problems and not options.check:
            write_split(options.out, "without-large" if apart else "all", list_images(images))
    return report(images, f"{len(list_images(images))} images", problems)


if __name__ == "__main__":
    run(main)
