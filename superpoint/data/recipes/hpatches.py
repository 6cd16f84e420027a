"""The full image sequences of HPatches (Balntas, Lenc, Vedaldi, Mikolajczyk, CVPR 2017).

116 folders, 57 i_* (illumination) and 59 v_* (viewpoint), each with 1.ppm .. 6.ppm and H_1_2 .. H_1_6.
"""

import shutil
from collections import Counter
from pathlib import Path

from superpoint.data.sequences import SUFFIXES, find_pairs
from superpoint.errors import UserError
from superpoint.files import make_folder

IMAGES = 6  # of a sequence, the first one the reference
COUNTS = {"i_": 57, "v_": 59}
KINDS = {"i_": "illumination", "v_": "viewpoint"}
# Beyond 1600 x 1200 pixels; tables of 108 sequences (52 i_, 56 v_) leave them out since D2-Net (Dusmanu et al., CVPR
# 2019).
LARGE = (
    *("i_contruction", "i_crownnight", "i_dc", "i_pencils", "i_whitebuilding"),
    *("v_artisans", "v_astronautis", "v_talent"),
)


def set_large_apart(images: Path, large: Path, *, apart: bool) -> None:
    """Move the eight large sequences from `images` to `large` if `apart`, or back."""
    source, target = (images, large) if apart else (large, images)
    for name in LARGE:
        if (source / name).is_dir() and not (target / name).exists():
            shutil.move(source / name, make_folder(target) / name)
    if large.is_dir() and not any(large.iterdir()):
        large.rmdir()


def list_images(images: Path) -> list[str]:
    """Return the paths of all images, relative to `images`, in order."""
    files = (path for path in images.glob("[iv]_*/*") if path.suffix.lower() in SUFFIXES)
    return sorted(path.relative_to(images).as_posix() for path in files)


def find_problems(images: str | Path, *, without_large: bool = False) -> list[str]:
    """Return what is wrong with a folder of HPatches, one line each: sequences, images, homographies.

    With `without_large` 108 sequences are expected, none of `LARGE`.
    """
    images = Path(images)
    try:
        found = find_pairs(images)
    except UserError as error:
        return [str(error)]
    pairs = Counter(pair.sequence for pair in found.pairs)
    problems = []
    for prefix, kind in KINDS.items():
        expected = COUNTS[prefix] - (sum(name.startswith(prefix) for name in LARGE) if without_large else 0)
        count = sum(name.startswith(prefix) for name in pairs)
        if count != expected:
            problems.append(f"{images}: found {count} sequences of {kind} ({prefix}*), expected {expected}")
    if without_large:
        problems += [f"{images / name}: one of the eight large sequences" for name in LARGE if name in pairs]
    elif missing := [name for name in LARGE if name not in pairs]:
        problems.append(f"{images}: found no {', '.join(missing)}, of the eight large sequences")
    problems += found.skipped
    for name, count in pairs.items():
        if count != IMAGES - 1:
            problems.append(f"{images / name}: found {count} pairs with a homography, expected {IMAGES - 1}")
    return problems
