"""Image sequences with known homographies: the layouts of HPatches and of the Oxford affine regions.

HPatches   <root>/{i,v}_<name>/1.ppm .. 6.ppm (or .png, .jpg) and H_1_2 .. H_1_6
Oxford     <root>/<name>/img1.ppm .. img6.ppm (or .png, .pgm, .jpg) and H1to2p .. H1to6p

Each H maps points of the first image to the k-th; pixel centres are at integers.
"""

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from superpoint.errors import UserError
from superpoint.files import natural_order, read_text
from superpoint.geometry.homography import Matrix

SUFFIXES = (".ppm", ".pgm", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
FIRST = {"hpatches": "1", "oxford": "img1"}
OTHER = {"hpatches": re.compile(r"(\d+)"), "oxford": re.compile(r"img(\d+)")}
MATRIX = {"hpatches": "H_1_{}", "oxford": "H1to{}p"}
CHANGES = {"i": "illumination", "v": "viewpoint"}  # the prefix of an HPatches sequence
OXFORD = {  # Mikolajczyk et al., IJCV 2005, table 1; viewpoint includes zoom with rotation
    **dict.fromkeys(("graf", "wall", "bark", "boat"), "viewpoint"),
    **dict.fromkeys(("bikes", "trees"), "blur"),
    "leuven": "illumination",
    "ubc": "compression",
}


@dataclass(frozen=True)
class PairFiles:
    """Two image files and the homography from the first to the second, in pixels of the files."""

    sequence: str
    change: str  # illumination, viewpoint, blur, compression, or the sequence's name where that does not tell
    image_a: Path
    image_b: Path
    h_a_b: Matrix

    @property
    def name(self) -> str:
        return f"{self.sequence}/{self.image_a.stem}-{self.image_b.stem}"


@dataclass(frozen=True)
class PairSet:
    pairs: list[PairFiles]  # in natural order
    skipped: list[str]  # what was left out, each with the reason


def find_pairs(root: str | Path) -> PairSet:
    """Find all pairs in a folder of sequences at any depth; those without a usable matrix are skipped.

    A sequence has the name of its folder, or its path below `root` where several folders have that name.
    Raises: UserError if the folder does not exist or holds no pair.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder, expected image sequences (HPatches or Oxford layout)")
    pairs: list[PairFiles] = []
    skipped: list[str] = []
    for folder in (
        root,
        *sorted((path for path in root.rglob("*") if path.is_dir()), key=lambda path: natural_order(str(path))),
    ):
        for layout, first in FIRST.items():
            image = _image(folder, first)
            if image is not None:
                _read_sequence(folder, layout, image, pairs, skipped)
    if not pairs:
        reason = f"; left out: {skipped[0]}" if skipped else ""
        raise UserError(f"{root}: found no image pair, expected sequences such as v_name/1.ppm, 2.ppm, H_1_2{reason}")
    return PairSet(_named_apart(pairs, root), skipped)


def _named_apart(pairs: list[PairFiles], root: Path) -> list[PairFiles]:
    folders = {pair.image_a.parent: pair.sequence for pair in pairs}
    same = {name for name, count in Counter(folders.values()).items() if count > 1}
    return [
        replace(pair, sequence=pair.image_a.parent.relative_to(root).as_posix()) if pair.sequence in same else pair
        for pair in pairs
    ]


def _read_sequence(folder: Path, layout: str, first: Path, pairs: list[PairFiles], skipped: list[str]) -> None:
    others = {}
    for path in folder.iterdir():
        number = OTHER[layout].fullmatch(path.stem)
        if number and path.suffix.lower() in SUFFIXES and int(number[1]) > 1:
            others.setdefault(int(number[1]), path)
    if not others:
        skipped.append(f"{folder}: a sequence of one image")
    name = folder.resolve().name  # of "." too
    change = CHANGES.get(name[0], name) if name[1:2] == "_" else OXFORD.get(name.lower(), name)
    for number, path in sorted(others.items()):
        try:
            matrix = read_homography(folder / MATRIX[layout].format(number))
        except UserError as error:
            skipped.append(str(error))
            continue
        pairs.append(PairFiles(name, change, first, path, matrix))


def read_homography(path: str | Path) -> Matrix:
    """Read a homography [3, 3], scaled to a last element of 1, from a text file of nine numbers.

    Raises: UserError if the file is missing, or holds other than nine finite numbers or a singular matrix.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected a homography of nine numbers")
    try:
        values = [float(value) for value in read_text(path).replace(",", " ").split()]
    except ValueError as error:  # UnicodeDecodeError is one
        raise UserError(f"{path}: not a homography ({error})") from error
    if len(values) != 9:
        raise UserError(f"{path}: found {len(values)} numbers, expected nine")
    matrix = np.array(values).reshape(3, 3)
    if not np.isfinite(matrix).all():
        raise UserError(f"{path}: found numbers that are not finite, expected a homography")
    # Columns are scaled alike: translations are thousands of times larger than perspective terms.
    scaled = matrix / np.maximum(np.linalg.norm(matrix, axis=0), 1e-300)
    if np.linalg.matrix_rank(scaled, tol=1e-9) < 3:
        raise UserError(f"{path}: found a singular matrix, expected a homography")
    return matrix / matrix[2, 2] if matrix[2, 2] else matrix


def _image(folder: Path, stem: str) -> Path | None:
    paths = (folder / (stem + ending) for suffix in SUFFIXES for ending in (suffix, suffix.upper()))
    return next((path for path in paths if path.is_file()), None)
