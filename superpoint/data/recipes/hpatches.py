"""The full image sequences of HPatches (Balntas, Lenc, Vedaldi, Mikolajczyk, CVPR 2017).

116 folders, 57 i_* (illumination) and 59 v_* (viewpoint), each with 1.ppm .. 6.ppm and H_1_2 .. H_1_6.
"""

import shutil
from collections import Counter
from pathlib import Path

from PIL import Image

from superpoint.data.sequences import SUFFIXES, find_pairs
from superpoint.errors import UserError, one_line
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
    """Return what is wrong with a folder of HPatches, one line each: sequences, image headers, homographies.

    With `without_large` 108 sequences are expected, none of `LARGE`.
    """
    images = Path(images)
    try:
        found = find_pairs(images)
    except UserError as error:
        return [str(error)]
    folders = sorted(path for path in images.iterdir() if path.is_dir() and not path.name.startswith("."))
    problems = [f"{folder}: no sequence of HPatches" for folder in folders if folder.name[:2] not in COUNTS]
    names = [folder.name for folder in folders]
    for prefix, all_of_them in COUNTS.items():
        expected = all_of_them - (sum(name.startswith(prefix) for name in LARGE) if without_large else 0)
        count = sum(name.startswith(prefix) for name in names)
        if count != expected:
            problems.append(f"{images}: found {count} sequences of {KINDS[prefix]} ({prefix}*), expected {expected}")
    if without_large:
        problems += [f"{images / name}: one of the eight large sequences" for name in LARGE if name in names]
    elif missing := [name for name in LARGE if name not in names]:
        problems.append(f"{images}: found no {', '.join(missing)}, of the eight large sequences")
    problems += found.skipped
    pairs = Counter(pair.sequence for pair in found.pairs)
    for folder in folders:
        if folder.name[:2] in COUNTS:
            problems += _in_sequence(folder, pairs[folder.name])
    return problems


def _in_sequence(folder: Path, pairs: int) -> list[str]:
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}
    expected = [str(number) for number in range(1, IMAGES + 1)]
    problems = [f"{folder}: found no image {stem}" for stem in expected if stem not in files]
    if more := [stem for stem in files if stem not in expected]:
        problems.append(f"{folder}: found {len(more)} more images than {IMAGES}: {', '.join(more)}")
    elif pairs < IMAGES - 1:
        problems.append(f"{folder}: found {pairs} pairs with a homography, expected {IMAGES - 1}")
    for path in files.values():
        try:
            Image.open(path).close()
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            problems.append(f"{path}: not an image ({one_line(error)})")
    return problems
